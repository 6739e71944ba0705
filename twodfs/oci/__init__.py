"""The documents of OCI and Docker images, and the names they go by. Pure.

digest       content addresses
reference    ``registry/repository:tag@digest``
platforms    ``linux/arm64/v8``
spelling     keys that Go takes for others
documents    descriptors, manifests and indexes, OCI and Docker
image_config image configs
image_settings settings put over those of a base
translation  Docker's media types in OCI's terms, and the other way round
referrers    lists of a manifest's referrers, and the tag that keeps one
"""
