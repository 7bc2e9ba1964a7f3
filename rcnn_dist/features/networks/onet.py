"""O-Net: VGG16 (Simonyan and Zisserman 2014), the network of the paper's Table 3."""

from torch import nn

from rcnn_dist.features.networks.base import preprocess_of
from rcnn_dist.features.networks.chain import ChainNetwork, build_chain
from rcnn_dist.features.networks.spec import NetworkParams

MEAN_BGR = (103.939, 116.779, 123.68)
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # channels of the convolutions before each pooling


def build(params: NetworkParams) -> ChainNetwork:
    """Layers conv5 [512 * 14 * 14], pool5 [512 * 7 * 7], fc6 and fc7 [4096], all after their ReLU.

    Without weights they are drawn so that the variance survives every ReLU (He et al. 2015); biases are 0.

    Raises:
        ConfigError: the weights do not fit, or the input size does not.

    Paper: §3.3. Reference: branch vgg-verydeep, where pool5, fc6 and fc7 are called layers 13, 14 and 15.
    """
    preprocess = preprocess_of(params, 224, mean=MEAN_BGR, std=(1.0, 1.0, 1.0), channel_order="bgr")
    taps = {"conv5": "relu5_3", "pool5": "pool5", "fc6": "relu6", "fc7": "relu7"}
    network = build_chain(params, preprocess, modules, taps)
    if params.weights is None:
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
    return network


def modules() -> dict[str, nn.Module]:
    """In blocks 1 to 4 the last ReLU follows the max pooling: the same numbers as in front of it, from a quarter of the work."""
    chain: dict[str, nn.Module] = {}
    channels = 3
    for block, widths in enumerate(BLOCKS, 1):
        for number, width in enumerate(widths, 1):
            chain[f"conv{block}_{number}"] = nn.Conv2d(channels, width, 3, padding=1)
            if number == len(widths) and block < len(BLOCKS):
                chain[f"pool{block}"] = nn.MaxPool2d(2, stride=2, ceil_mode=True)
            chain[f"relu{block}_{number}"] = nn.ReLU(inplace=True)
            channels = width
    return chain | {
        "pool5": nn.MaxPool2d(2, stride=2, ceil_mode=True),
        "fc6": nn.Linear(channels * 7 * 7, 4096),
        "relu6": nn.ReLU(inplace=True),
        "drop6": nn.Dropout(0.5),
        "fc7": nn.Linear(4096, 4096),
        "relu7": nn.ReLU(inplace=True),
    }
