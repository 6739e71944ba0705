"""Signatures of images in cosign's formats. Pure.

ecdsa        the keys that make and check signatures
signature    payloads, the manifests that carry them, their tags
bundle       sigstore bundles, as cosign writes them today
attachment   signatures of ours as a registry keeps them
evidence     whether an image is signed: the places to look, and the valid signatures
"""
