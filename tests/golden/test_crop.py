"""rcnn_im_crop.m, as the original computed it, against both implementations of the warp."""

import numpy as np
import pytest
import torch

from rcnn_dist.features.warp import WarpParams, warp_geometry, warp_regions
from rcnn_dist.features.warp_torch import warp_regions_torch
from rcnn_dist.geometry.boxes import half_open_from_voc


def box_of(file, row):
    box = file["box"][row : row + 1]
    return half_open_from_voc(box.astype(np.float32) if file["box_is_single"][row] else box)


def params_of(file, row):
    return WarpParams("square" if file["square"][row] else "warp", float(file["padding"][row]))


def bgr_of(file, row):
    return np.ascontiguousarray(file[f"image_{file['image_index'][row]:02d}_rgb"][:, :, ::-1])


def mean_of(file, row):
    kind = file["mean_type"][row]
    return file[f"mean_bgr_type{kind}"] if kind else np.zeros(3, dtype=np.float32)


def by_reference(file, row):
    return warp_regions(bgr_of(file, row), box_of(file, row), params_of(file, row), int(file["crop_size"][row]), mean_of(file, row))[0]


def by_torch(file, row):
    image, size = bgr_of(file, row), int(file["crop_size"][row])
    geometry = warp_geometry(box_of(file, row), *image.shape[:2], params_of(file, row), size)
    crops = warp_regions_torch(torch.from_numpy(image), geometry, size, torch.from_numpy(mean_of(file, row)))
    return crops[0].permute(1, 2, 0).numpy()


def test_geometry_is_exact(golden):
    for file in golden("crop"):
        for row, expected in enumerate(file["geom"]):
            height, width = bgr_of(file, row).shape[:2]
            geometry = warp_geometry(box_of(file, row), height, width, params_of(file, row), int(file["crop_size"][row]))
            window = geometry.window[0] + [1, 1, 0, 0]
            got = [*window, *geometry.offset[0], *geometry.size[0]]
            np.testing.assert_array_equal(got, expected, err_msg=f"case {row}")


@pytest.mark.parametrize("warp", [by_reference, by_torch])
def test_pixels_agree(golden, warp):
    for file in golden("crop"):
        for row, size in enumerate(file["crop_size"]):
            crop = warp(file, row)
            kept = file[f"sub_idx_{size}"]
            expected = file[f"sub_{size}"][list(file[f"sub_case_{size}"]).index(row)]
            np.testing.assert_allclose(crop[np.ix_(kept, kept)], expected, rtol=0, atol=0.01, err_msg=f"case {row}")
            if row in file["full_cases"]:
                np.testing.assert_allclose(crop, file[f"full_case_{row:03d}"], rtol=0, atol=0.01, err_msg=f"case {row}")


@pytest.mark.parametrize("warp", [by_reference, by_torch])
def test_statistics_of_the_whole_crop_agree(golden, warp):
    for file in golden("crop"):
        for row in range(len(file["box"])):
            crop = warp(file, row).astype(np.float64)
            got = [*crop.mean((0, 1)), *np.abs(crop).mean((0, 1)), crop.min(), crop.max()]
            expected = [*file["stats_mean"][row], *file["stats_absmean"][row], file["stats_min"][row], file["stats_max"][row]]
            np.testing.assert_allclose(got, expected, rtol=0, atol=0.01, err_msg=f"case {row}")


def test_where_the_original_fails_a_box_off_the_image_is_refused_and_any_other_is_cut(golden):
    file = next((file for file in golden("crop") if "err_box" in file), None)
    if file is None:
        pytest.skip("no file with failing calls")
    for row, message in enumerate(file["err_message"]):
        image = file[f"image_{list(file['image_names']).index(file['err_image'][row]):02d}_rgb"][:, :, ::-1]
        box = half_open_from_voc(file["err_box"][row : row + 1])
        params = WarpParams("square" if file["err_square"][row] else "warp", float(file["err_padding"][row]))
        size = int(file["err_crop_size"][row])
        if "imresize" in str(message):
            with pytest.raises(ValueError, match="shows no pixel of the"):
                warp_regions(image, box, params, size, file["mean_bgr_type1"])
        else:
            crop = warp_regions(image, box, params, size, file["mean_bgr_type1"])
            assert np.abs(crop).max() > 50
        if "no error" in str(message):
            low, high = map(float, str(message).split()[-2:])
            assert (crop.min(), crop.max()) == pytest.approx((low, high), abs=0.01)
