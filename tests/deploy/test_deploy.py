"""The files of deploy/: what Ray, Kubernetes and the shell say of them, and the promises that no schema knows."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config

from rcnn_dist.config import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = "1.34"
GIB = 2**30
SECRET = re.compile(r"(?i)(AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|(password|secret_access_key|auth_token)\s*[:=]\s*['\"]?\w{8,})")


def load(name):
    return yaml.safe_load((DEPLOY / name).read_text())


def ray_cluster(name):
    """The RayCluster specification of a manifest."""
    content = load(f"kuberay/{name}.yaml")
    return content["spec"] if name == "raycluster" else content["spec"]["rayClusterSpec"]


def groups():
    spec = ray_cluster("raycluster")
    return {"head": spec["headGroupSpec"], **{group["groupName"]: group for group in spec["workerGroupSpecs"]}}


def job_runtime():
    """The runtime section that the job's command asks for."""
    words = shlex.split(load("kuberay/rayjob.yaml")["spec"]["entrypoint"])
    assert words[:2] == ["rcnn-dist", "run"]
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    return load_config(ROOT / "configs" / words[2], settings).runtime


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
class TestRayUp:
    def test_ray_accepts_the_file(self, cloud):
        prepared = prepare_config(load(f"ray-cluster-{cloud}.yaml"))
        validate_config(prepared)
        assert set(prepared["available_node_types"]) == {"head", "cpu", "gpu"}, "nothing of Ray's own defaults"

    def test_workers_are_spot_machines_that_come_and_go_and_the_head_is_not(self, cloud):
        nodes = load(f"ray-cluster-{cloud}.yaml")["available_node_types"]
        spot = {
            name: "spot" in str(node["node_config"]) or "'preemptible': True" in str(node["node_config"]) for name, node in nodes.items()
        }
        assert spot == {"head": False, "cpu": True, "gpu": True}
        assert nodes["head"]["resources"] == {"CPU": 0}
        assert all(nodes[name]["min_workers"] == 0 < nodes[name]["max_workers"] for name in ("cpu", "gpu"))
        assert nodes["gpu"]["resources"]["GPU"] == 1
        assert load(f"ray-cluster-{cloud}.yaml")["max_workers"] >= nodes["cpu"]["max_workers"] + nodes["gpu"]["max_workers"]

    def test_a_token_is_asked_for_and_the_dashboard_listens_to_nobody_outside(self, cloud):
        content = load(f"ray-cluster-{cloud}.yaml")
        assert "--env RAY_AUTH_MODE=token" in content["docker"]["run_options"]
        assert content["file_mounts"] == {"/home/rcnn/.ray/auth_token": "~/.ray/auth_token"}
        assert "--dashboard-host=127.0.0.1" in content["head_start_ray_commands"][-1]

    def test_commands_are_shell(self, cloud):
        content = load(f"ray-cluster-{cloud}.yaml")
        for key in ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
            for command in content[key]:
                subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
class TestKubeRay:
    def test_pods_are_pods_of_kubernetes(self, name):
        for pod in pods(name):
            content = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
            kubernetes_validate.validate(content, KUBERNETES, strict=True)

    def test_nothing_runs_as_root_or_gains_rights(self, name):
        for pod in pods(name):
            assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["containers"]:
                assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

    def test_every_container_says_what_it_takes(self, name):
        for pod in pods(name):
            for container in pod["containers"]:
                requests, limits = container["resources"]["requests"], container["resources"]["limits"]
                assert requests["memory"] == limits["memory"], "memory beyond the request is memory that others lose"
                assert {"cpu", "memory"} <= set(requests)

    def test_a_token_from_a_secret_is_asked_for(self, name):
        assert ray_cluster(name)["authOptions"] == {"mode": "token", "secretName": "rcnn-dist-token"}

    def test_groups_grow_from_nothing(self, name):
        spec = ray_cluster(name)
        assert spec["enableInTreeAutoscaling"]
        assert [group["groupName"] for group in spec["workerGroupSpecs"]] == ["cpu", "gpu"]
        assert all(group["minReplicas"] == 0 < group["maxReplicas"] for group in spec["workerGroupSpecs"])

    def test_volumes_that_are_mounted_exist_and_are_the_claim(self, name):
        claim = load("kuberay/storage.yaml")
        kubernetes_validate.validate(claim, KUBERNETES, strict=True)
        for group in (ray_cluster(name)["headGroupSpec"], *ray_cluster(name)["workerGroupSpecs"]):
            pod = group["template"]["spec"]
            volumes = {volume["name"]: volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"]}
            assert volumes == {"storage": claim["metadata"]["name"]}
            assert [mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]] == ["storage"]

    def test_ray_is_of_a_version_that_the_package_wants(self, name):
        requirements = map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
        (wanted,) = [requirement for requirement in requirements if requirement.name == "ray"]
        assert wanted.specifier.contains(ray_cluster(name)["rayVersion"])


def pods(name):
    spec = ray_cluster(name)
    found = [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]
    return found + ([load("kuberay/rayjob.yaml")["spec"]["submitterPodTemplate"]["spec"]] if name == "rayjob" else [])


def test_the_manifests_are_of_the_kinds_that_kuberay_has():
    assert [load(f"kuberay/{name}.yaml")["apiVersion"] for name in ("raycluster", "rayjob")] == ["ray.io/v1"] * 2
    assert [load(f"kuberay/{name}.yaml")["kind"] for name in ("raycluster", "rayjob")] == ["RayCluster", "RayJob"]
    job = load("kuberay/rayjob.yaml")["spec"]
    assert job["shutdownAfterJobFinishes"] and job["submissionMode"] == "K8sJobMode"
    assert ray_cluster("rayjob") == ray_cluster("raycluster"), "one cluster, described twice"


def test_nodes_fit_the_workers_that_the_job_asks_for():
    runtime, found = job_runtime(), groups()
    cpu, gpu = (found[name]["template"]["spec"]["containers"][0]["resources"]["requests"] for name in ("cpu", "gpu"))
    assert found["head"]["rayStartParams"]["num-cpus"] == "0"
    assert int(cpu["cpu"]) % runtime.threads_per_worker == 0
    assert memory(cpu) >= int(cpu["cpu"]) // runtime.threads_per_worker * (runtime.worker_memory_gb or 2) * GIB
    assert float(gpu["nvidia.com/gpu"]) >= (runtime.gpus_per_worker or 1)
    assert int(gpu["cpu"]) >= runtime.threads_per_worker
    assert runtime.gpu_workers == found["gpu"]["maxReplicas"], "every GPU that may be there is asked for"
    assert runtime.start_timeout_s >= 600, "a machine takes minutes to come up"
    for cloud in ("aws", "gcp"):
        nodes = load(f"ray-cluster-{cloud}.yaml")["available_node_types"]
        assert nodes["cpu"]["resources"] == {"CPU": int(cpu["cpu"])}
        assert nodes["gpu"]["resources"] == {"CPU": int(gpu["cpu"]), "GPU": 1}


def memory(requests):
    return int(requests["memory"].removesuffix("Gi")) * GIB


def test_every_image_is_one_of_the_two_targets_in_the_package_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    files = [*DEPLOY.glob("*.yaml"), *DEPLOY.glob("kuberay/*.yaml")]
    images = {image for path in files for image in re.findall(r"REGISTRY/\S+?(?=[\s}]|$)", path.read_text())}
    assert images == {f"REGISTRY/rcnn-dist:{version}-cpu", f"REGISTRY/rcnn-dist:{version}-cuda"}


def test_no_file_holds_a_secret():
    for path in [*DEPLOY.rglob("*"), ROOT / ".dockerignore"]:
        if path.is_file():
            assert not SECRET.search(path.read_text()), path


class TestDockerfile:
    def lines(self):
        text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
        return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]

    def stages(self):
        """Stage -> its instructions, those of the stages that it stands on first."""
        found = {}
        for word, rest in self.lines():
            if word == "FROM":
                base, _, name = rest.split()
                found[name] = [*found.get(base, [])]
            found[name].append((word, rest))
        return found

    def test_there_is_an_image_for_cpus_and_one_for_gpus_that_do_not_run_as_root(self):
        for name in ("cpu", "cuda"):
            words = self.stages()[name]
            assert [rest for word, rest in words if word == "USER"] == ["1000"]
            assert [word for word, _ in words].index("USER") > max(i for i, (word, _) in enumerate(words) if word == "RUN")

    def test_bases_have_a_fixed_tag(self):
        names = set(self.stages())
        for word, rest in self.lines():
            if word == "FROM" and (base := rest.split()[0]) not in names:
                assert re.fullmatch(r"[a-z/]+:\d[\w.-]+", base), base

    def test_what_is_copied_exists_and_is_not_ignored(self):
        ignored = (ROOT / ".dockerignore").read_text().splitlines()
        assert ignored[1] == "*"
        for word, rest in self.lines():
            if word == "COPY":
                for source in rest.split()[:-1]:
                    assert (ROOT / source).exists()
                    assert f"!{source}" in ignored

    def test_layers_keep_no_caches(self):
        for word, rest in self.lines():
            if word == "RUN" and "pip" in rest.split():
                assert "--no-cache-dir" in rest
            if word == "RUN" and "apt-get install" in rest:
                assert "--no-install-recommends" in rest and "rm -rf /var/lib/apt/lists/*" in rest

    def test_commands_are_shell(self):
        for word, rest in self.lines():
            if word == "RUN":
                subprocess.run(["bash", "-n", "-c", re.sub(r"--mount=\S+\s+", "", rest)], check=True)

    def test_the_step_that_lists_the_requirements_lists_those_of_the_package(self, tmp_path):
        (command,) = [rest for word, rest in self.lines() if word == "RUN" and "tomllib" in rest]
        shutil.copy(ROOT / "pyproject.toml", tmp_path)
        program, target = shlex.split(command.replace("/wheels/", ""))[2], tmp_path / "requirements.txt"
        target.write_text(subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
        wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        assert [Requirement(line) for line in target.read_text().splitlines()] == [*map(Requirement, wanted)]

    def test_torch_is_wanted_as_the_package_wants_it(self):
        wanted = {str(Requirement(line)) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]}
        for word, rest in self.lines():
            if word == "RUN":
                assert {*re.findall(r'"(torch[^"]*)"', rest)} <= wanted


def test_shell_scripts_are_sound():
    scripts = [str(path) for path in DEPLOY.rglob("*.sh")]
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
    found = subprocess.run([Path(sys.executable).with_name("shellcheck"), *scripts], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_page_names_every_file():
    page = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert f"`{path.relative_to(DEPLOY)}`" in page, path
