from rcnn_dist.features.networks.spec import NetworkParams, build_network, located, network_identity, network_layers

__all__ = ["NetworkParams", "build_network", "located", "network_identity", "network_layers"]
