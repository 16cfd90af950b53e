#!/usr/bin/env python3
"""Puts a static binary into a container image, an OCI layout in a tar, without a container engine.

    .ci/image.py [--target operator|playground] [--tag NAME] [--most-mb 25] OUTPUT.tar PLATFORM=BINARY...

As the stage of that name in deploy/Dockerfile says: from scratch, with its labels, user and entry point, and the
licence beside the binary. Several platforms make one index. `kind load image-archive`, `ctr images import`, `docker load` and
`skopeo copy oci-archive:OUTPUT.tar ...` take the result. The bytes of the image follow from the binaries alone.

Fails where a binary needs a dynamic linker, is not of its platform, or makes an image of more than so many megabytes.
"""

import argparse
import gzip
import hashlib
import io
import json
import re
import struct
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MACHINES = {62: "amd64", 183: "arm64"}
INTERPRETER = 3
MEGABYTE = 1_000_000


def stage(target):
    """What deploy/Dockerfile says about a stage: its labels, user, entry point and the binary's place."""
    text = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
    lines = re.split(r"^FROM .*? AS (\S+)$", text, flags=re.M)
    instructions = dict(zip(lines[1::2], lines[2::2]))[target]
    found = lambda pattern: re.search(pattern, instructions, flags=re.M).group(1)
    return {
        "labels": dict(re.findall(r'(org\.opencontainers\.\S+?)="([^"]*)"', instructions)),
        "user": found(r"^USER (\S+)$"),
        "entry": json.loads(found(r"^ENTRYPOINT (.*)$")),
        "place": found(r"^COPY --from=\S+ \S+ (\S+)$"),
    }


def check_binary(path, data, architecture):
    """Only a program that needs nothing beside it can run from scratch."""
    if data[:6] != b"\x7fELF\x02\x01":
        sys.exit(f"image: {path} is not a 64-bit ELF program")
    machine = MACHINES.get(struct.unpack_from("<H", data, 18)[0])
    if machine != architecture:
        sys.exit(f"image: {path} is for {machine}, not for {architecture}")
    start, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, start + index * size)[0] for index in range(count)]
    if INTERPRETER in kinds:
        sys.exit(f"image: {path} needs a dynamic linker: build it for musl, or with -C target-feature=+crt-static")


def layer(files):
    """A tar of files, the same for the same files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data, mode in files:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI image layout that grows in memory."""

    def __init__(self):
        self.files = {"oci-layout": json.dumps({"imageLayoutVersion": "1.0.0"}).encode()}

    def add(self, data, kind, **more):
        name = digest(data)
        self.files["blobs/" + name.replace(":", "/")] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": name, "size": len(data), **more}

    def add_json(self, value, kind, **more):
        return self.add(json.dumps(value, sort_keys=True).encode(), kind, **more)

    def write(self, path, index):
        self.files["index.json"] = json.dumps(index, sort_keys=True).encode()
        path.write_bytes(layer((name, data, 0o644) for name, data in sorted(self.files.items())))


def index(manifests):
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}


def image(layout, said, platform, binary):
    """Adds the image of one platform and tells its sizes."""
    system, architecture = platform.split("/")
    data = binary.read_bytes()
    check_binary(binary, data, architecture)
    licence = (ROOT / "docs/LICENSE").read_bytes()
    content = layer([(said["place"].lstrip("/"), data, 0o755), ("LICENSE", licence, 0o644)])
    compressed = gzip.compress(content, 9, mtime=0)
    configuration = {
        "architecture": architecture, "os": system,
        "config": {"User": said["user"], "Entrypoint": said["entry"], "Labels": said["labels"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
    }
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.add_json(configuration, "config.v1+json"),
        "layers": [layout.add(compressed, "layer.v1.tar+gzip")],
    }
    named = {"os": system, "architecture": architecture}
    return layout.add_json(manifest, "manifest.v1+json", platform=named), manifest, len(compressed), len(content)


def old_manifest(tag, manifest):
    """What `docker load` before version 25 reads, which knows no index and so one platform only."""
    path = lambda descriptor: "blobs/" + descriptor["digest"].replace(":", "/")
    return [{"Config": path(manifest["config"]), "RepoTags": [tag], "Layers": [path(one) for one in manifest["layers"]]}]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--target", choices=["operator", "playground"], default="operator")
    arguments.add_argument("--tag", default="ghcr.io/valencenet/valence:0.1.0")
    arguments.add_argument("--most-mb", type=float, default=25)
    arguments.add_argument("output", type=Path)
    arguments.add_argument("binaries", nargs="+", metavar="PLATFORM=BINARY")
    given = arguments.parse_args()
    layout, said, manifests, failed = Layout(), stage(given.target), [], False
    for one in given.binaries:
        platform, _, binary = one.partition("=")
        descriptor, manifest, compressed, content = image(layout, said, platform, Path(binary))
        manifests.append(descriptor)
        failed |= content > given.most_mb * MEGABYTE
        print(f"{given.tag}  {platform}  {compressed / MEGABYTE:.1f} MB to pull, {content / MEGABYTE:.1f} MB unpacked")
    names = {"org.opencontainers.image.ref.name": given.tag, "io.containerd.image.name": given.tag}
    several = layout.add_json(index(manifests), "index.v1+json", annotations=names)
    if len(manifests) == 1:
        layout.files["manifest.json"] = json.dumps(old_manifest(given.tag, manifest), sort_keys=True).encode()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    layout.write(given.output, index([several]))
    print(f"{given.output}  {several['digest']}")
    if failed:
        sys.exit(f"image: more than {given.most_mb:g} MB unpacked")


if __name__ == "__main__":
    main()
