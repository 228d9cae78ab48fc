"""What many teams share: a queue in front of a cluster. Added by ``optikit serve``."""
