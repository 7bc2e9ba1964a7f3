"""One generated picture: a cluttered background, one to four shapes, things in front of them, a camera."""

from dataclasses import dataclass

import cv2
import numpy as np

from rcnn_dist.arrays import Array, Float32, Float64, UInt8
from rcnn_dist.data.dataset import Objects
from rcnn_dist.data.shapes_objects import HUES, OUTLINES, TEXTURES, coverage, texture_weight

_LEAST_VISIBLE = 0.08  # less of a shape than this cannot be told by a person: it is not annotated
_DIFFICULT_VISIBLE = 0.4
_DIFFICULT_SIDE = 16  # pixels
_TRUNCATED_BELOW = 0.9  # visible box area over whole box area
_MOST_OVERLAP = 0.25  # of the smaller of two shapes' boxes
_PLACEMENT_TRIES = 20
_VOID = 255

Canvas = np.ndarray  # float32 [H,W,3], 0 to 255


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, its objects, and who is seen at each pixel: object k of `objects` has k + 1, 0 none, 255 what is not to be judged."""

    image: UInt8[Array, "H W 3"]
    objects: Objects
    object_map: UInt8[Array, "H W"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape that was put into a picture, wherever it reaches."""

    class_name: str
    to_image: Float64[Array, "2 3"]  # from the shape's frame, where it has radius 1
    whole_box: Float64[Array, " 4"]  # border and occluders ignored


def draw_scene(rng: np.random.Generator, width: int, height: int, classes: tuple[str, ...], max_objects: int) -> Scene:
    """A picture, its objects and their masks; each box is the tight box of what can be seen, as VOC's rules say.

    Truncated: the seen box is under 0.9 of the whole one. Difficult: under 0.4 of the shape can be seen, or a side is under 16 px.
    """
    canvas = _background(rng, width, height)
    grain = _noise(rng, width, height, 0.85)
    for _ in range(rng.integers(4, 12)):
        _paint_clutter(rng, canvas, grain, rng.uniform((0, 0), (width, height)), largest=0.35)
    shapes = _place(rng, width, height, classes, int(rng.integers(1, max_objects + 1)))
    owner = np.full((height, width), -1)
    for index, shape in enumerate(shapes):
        owner[_paint_shape(rng, canvas, grain, shape) >= 0.5] = index
    for _ in range(rng.integers(0, 4)):
        half_hidden = shapes[rng.integers(len(shapes))]
        centre = half_hidden.to_image[:, 2] + rng.uniform(-1, 1, 2) * (half_hidden.whole_box[2:] - half_hidden.whole_box[:2])
        owner[_paint_clutter(rng, canvas, grain, centre, largest=0.2) >= 0.5] = -1
    return Scene(_photograph(rng, canvas), annotate(shapes, owner), map_objects(shapes, owner))


def _noise(rng: np.random.Generator, width: int, height: int, slope: float) -> Float32[Array, "H W"]:
    """A random field whose amplitude falls as frequency**-slope, as in photographs; mean 0, deviation 1."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(rows, columns).astype(np.float32)
    frequency[0, 0] = np.inf
    spectrum = rng.standard_normal((*frequency.shape, 2), dtype=np.float32).view(np.complex64)[..., 0] * frequency**-slope
    field = np.fft.irfft2(spectrum, s=(height, width))
    return field / field.std()


def _ramp(rng: np.random.Generator, width: int, height: int) -> Float32[Array, "H W"]:
    """A straight ramp in a random direction, about -1 to 1."""
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    return (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)


def _light(rng: np.random.Generator, grain: Float32[Array, "H W"], uneven: float, rough: float) -> Float32[Array, "H W 1"]:
    """The light on one surface, about 1; each surface has another part of the scene's grain."""
    height, width = grain.shape
    moved = np.roll(grain, rng.integers(0, (height, width)), axis=(0, 1))
    return (1 + uneven * _ramp(rng, width, height) + rough * moved)[..., None]


def _colour(rng: np.random.Generator) -> Float32[Array, " 3"]:
    """A colour as surfaces have them: seldom very saturated, seldom black or white."""
    hsv = np.array([[[rng.uniform(0, 360), rng.beta(2, 2.5), rng.uniform(0.2, 0.95)]]], dtype=np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _blend(canvas: Canvas, weight: np.ndarray, paint: np.ndarray) -> None:
    canvas += weight[..., None] * (paint - canvas)


def _background(rng: np.random.Generator, width: int, height: int) -> Canvas:
    """Two or three surfaces with soft, uneven borders, rough at every scale, lit from one side, with out-of-focus blobs."""
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = _colour(rng)
    for _ in range(rng.integers(1, 3)):
        border = 2 * _ramp(rng, width, height) + 0.6 * _noise(rng, width, height, 1.6) + rng.uniform(-0.6, 0.6)
        _blend(canvas, 1 / (1 + np.exp(-border * rng.uniform(2, 12))), _colour(rng))
    for _ in range(rng.integers(3, 9)):
        x, y = np.meshgrid((np.arange(width) - rng.uniform(0, width)) / width, (np.arange(height) - rng.uniform(0, height)) / height)
        blob = np.exp(-((x / rng.uniform(0.03, 0.25)) ** 2) - (y / rng.uniform(0.03, 0.25)) ** 2)
        _blend(canvas, (rng.uniform(0.3, 0.9) * blob).astype(np.float32), _colour(rng))
    roughness = rng.uniform(8, 26) * _noise(rng, width, height, rng.uniform(0.9, 1.4))
    tint = rng.uniform(2, 8) * np.stack([_noise(rng, width, height, 1.3) for _ in range(3)], axis=2)
    light = 1 + rng.uniform(0, 0.3) * _ramp(rng, width, height)
    return (canvas + roughness[..., None] + tint) * light[..., None]


def _paint_clutter(
    rng: np.random.Generator, canvas: Canvas, grain: np.ndarray, centre: Float64[Array, " 2"], largest: float
) -> Float32[Array, "H W"]:
    """Paints one plain line, polygon or ellipse with a soft edge and a ramp of light; gives its coverage."""
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), dtype=np.uint8)
    radius = rng.uniform(0.03, largest) * min(width, height)
    kind = rng.choice(["line", "polygon", "ellipse"])
    if kind == "line":
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.2) * width
        reach = length / 2 * np.array([np.cos(angle), np.sin(angle)])
        ends = np.round([centre - reach, centre + reach]).astype(int).tolist()
        cv2.line(mask, ends[0], ends[1], 255, thickness=int(rng.integers(1, 6)), lineType=cv2.LINE_AA)
    elif kind == "polygon":
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        corners = centre + radius * rng.uniform(0.5, 1, (len(angles), 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 255, lineType=cv2.LINE_AA)
    else:
        axes = np.round(radius * rng.uniform(0.4, 1, 2)).astype(int).tolist()
        cv2.ellipse(mask, np.round(centre).astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    weight = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.3, 1.5)).astype(np.float32) / 255
    _blend(canvas, weight, _colour(rng) * _light(rng, grain, uneven=rng.uniform(0, 0.35), rough=0.04))
    return weight


def _place(rng: np.random.Generator, width: int, height: int, classes: tuple[str, ...], count: int) -> list[Shape]:
    """Up to `count` shapes of random class, size, aspect, turn and place that hide little of one another; at least one."""
    shapes: list[Shape] = []
    for _ in range(_PLACEMENT_TRIES * count):
        class_name = classes[rng.integers(len(classes))]
        radius = np.exp(rng.uniform(np.log(0.05), np.log(0.36))) * min(width, height)
        stretch = np.exp(rng.uniform(-0.3, 0.3))
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turn @ np.diag([radius * stretch, radius / stretch])
        to_image = np.column_stack([linear, rng.uniform((0.04 * width, 0.04 * height), (0.96 * width, 0.96 * height))])
        points = OUTLINES[class_name.split("_")[1]][0] @ linear.T + to_image[:, 2]
        shape = Shape(class_name, to_image, np.concatenate([points.min(axis=0), points.max(axis=0)]))
        if all(_overlap(shape.whole_box, other.whole_box) <= _MOST_OVERLAP for other in shapes):
            shapes.append(shape)
        if len(shapes) == count:
            break
    return shapes


def _overlap(a: Float64[Array, " 4"], b: Float64[Array, " 4"]) -> float:
    """The shared area over the smaller box's."""
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(shared / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))


def _paint_shape(rng: np.random.Generator, canvas: Canvas, grain: np.ndarray, shape: Shape) -> Float32[Array, "H W"]:
    """Paints a shape and the shadow it throws; gives its coverage."""
    height, width = canvas.shape[:2]
    texture_name, outline_name, *hue = shape.class_name.split("_")
    weight = coverage(OUTLINES[outline_name], shape.to_image, height, width)
    shift = np.array([[1, 0, rng.uniform(-6, 6)], [0, 1, rng.uniform(-2, 8)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(weight, shift, (width, height)), (0, 0), rng.uniform(2, 6))
    canvas *= 1 - rng.uniform(0, 0.5) * shadow[..., None]
    dark, light = _two_shades(rng, HUES[hue[0]]) if hue else _two_colours(rng)
    texture = texture_weight(TEXTURES[texture_name], shape.to_image, rng.uniform(2.5, 5), height, width)
    paint = dark + texture[..., None] * (light - dark)
    _blend(canvas, weight, paint * _light(rng, grain, uneven=rng.uniform(0.05, 0.4), rough=rng.uniform(0.02, 0.09)))
    return weight


def _two_colours(rng: np.random.Generator) -> tuple[Float32[Array, " 3"], Float32[Array, " 3"]]:
    """Two colours that differ enough in brightness for the texture to be seen."""
    while True:
        first, second = sorted((_colour(rng), _colour(rng)), key=np.mean)
        if np.mean(second) - np.mean(first) > 45:
            return first, second


def _two_shades(rng: np.random.Generator, hue: float) -> tuple[Float32[Array, " 3"], Float32[Array, " 3"]]:
    """A dark and a light colour of about the same hue (degrees)."""
    shades = [[(hue + rng.uniform(-12, 12)) % 360, rng.uniform(0.55, 0.95), rng.uniform(*value)] for value in ((0.15, 0.4), (0.75, 1.0))]
    dark, light = cv2.cvtColor(np.array([shades], np.float32), cv2.COLOR_HSV2RGB)[0] * 255
    return dark, light


def _photograph(rng: np.random.Generator, canvas: Canvas) -> UInt8[Array, "H W 3"]:
    """What a camera makes of the canvas: exposure, a little blur, sensor noise, 8 bits."""
    seen = cv2.GaussianBlur(canvas * rng.uniform(0.8, 1.1), (0, 0), rng.uniform(0.3, 0.9))
    sensed = seen + rng.standard_normal(canvas.shape, dtype=np.float32) * rng.uniform(1, 5)
    return np.clip(np.rint(sensed), 0, 255).astype(np.uint8)


def annotate(shapes: list[Shape], owner: np.ndarray) -> Objects:
    """The shapes of which enough is seen; `owner [H,W]` is the index of the shape seen at each pixel, -1 for none.

    Each box is the tight box of the seen pixels. The flags: see `draw_scene`.
    """
    boxes, classes, difficult, truncated = [], [], [], []
    for index, shape in enumerate(shapes):
        rows, columns = np.nonzero(owner == index)
        if not _is_annotated(shape, len(rows)):
            continue
        whole = _whole_area(shape)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)
        sides = box[2:] - box[:2]
        boxes.append(box)
        classes.append(shape.class_name)
        difficult.append(len(rows) < _DIFFICULT_VISIBLE * whole or min(sides) < _DIFFICULT_SIDE)
        truncated.append(np.prod(sides) < _TRUNCATED_BELOW * np.prod(shape.whole_box[2:] - shape.whole_box[:2]))
    flags = np.array([difficult, truncated], dtype=np.bool_).reshape(2, -1)
    return Objects(np.array(boxes, dtype=np.float64).reshape(-1, 4), tuple(classes), flags[0], flags[1])


def map_objects(shapes: list[Shape], owner: np.ndarray) -> UInt8[Array, "H W"]:
    """Each pixel's object, numbered from 1 in the order of `annotate`.

    Void (255) are the shapes too little seen to be annotated and, as VOC's borders, every pixel of an object with another owner
    beside it.
    """
    number, count = np.zeros(len(shapes) + 1, np.uint8), 0
    for index, shape in enumerate(shapes):
        pixels = int(np.count_nonzero(owner == index))
        count += _is_annotated(shape, pixels)
        number[index] = count if _is_annotated(shape, pixels) else _VOID
    across, down = owner[:, 1:] != owner[:, :-1], owner[1:] != owner[:-1]
    border = np.zeros(owner.shape, np.bool_)
    border[:, 1:] |= across
    border[:, :-1] |= across
    border[1:] |= down
    border[:-1] |= down
    return np.where(border & (owner >= 0), np.uint8(_VOID), number[owner])  # owner -1 is the last number, 0


def _is_annotated(shape: Shape, pixels: int) -> bool:
    return pixels >= _LEAST_VISIBLE * _whole_area(shape)


def _whole_area(shape: Shape) -> float:
    """The shape's area in pixels, border and occluders ignored."""
    polygons = OUTLINES[shape.class_name.split("_")[1]]
    areas = [cv2.contourArea(points.astype(np.float32)) for points in polygons]
    return float((areas[0] - sum(areas[1:])) * abs(np.linalg.det(shape.to_image[:, :2])))
