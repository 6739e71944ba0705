"""Images from anywhere: a registry, a layout, an archive, the Docker Engine of this machine.

source       where an image is read from
inflation    gzip undone, up to a limit
archive      the files of a directory or a tar archive
tarball      an image as a tar archive, planned (pure)
layout       an image in an OCI layout
saved        an image that ``docker save`` wrote
daemon       an image of the Docker Engine of this machine
transport    ``oci-archive:FILE:NAME`` and similar names
remembered   manifests of a registry that come once
pull         a base image into the store
scratch      a base without files
"""
