"""Container image references (`registry:port/path/name:tag@sha256:…`), as distribution/reference defines them."""

from typing import NamedTuple


class Image(NamedTuple):
    """`name` is the repository without tag and digest; `tag` and `digest` are empty where there is none."""

    name: str
    tag: str
    digest: str


def parse(reference: str) -> Image:
    """Take a reference apart. Anything is accepted: what the kubelet pulled was valid."""
    rest, _, digest = reference.partition("@")
    folder, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")  # a colon before the last slash is a port
    return Image(folder + slash + name, tag, digest)


def tag_of(image: Image) -> str:
    """What `container.image.tag` says: without tag and digest, the kubelet pulls `latest`."""
    return image.tag or ("" if image.digest else "latest")


def version_of(image: Image) -> str:
    """`service.version` by OpenTelemetry's rule: tag, digest, or `tag@digest`; nothing for neither."""
    return "@".join(part for part in (image.tag, image.digest) if part)


def repo_digest(image_id: str) -> str:
    """`container.image.repo_digests` out of a status's imageID: `name@sha256:…`; nothing for a bare image ID."""
    bare = image_id.partition("://")[2] or image_id
    return bare if "@" in bare else ""
