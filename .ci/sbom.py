#!/usr/bin/env python3
"""Writes a CycloneDX 1.5 document of the crates that are linked into the operator.

    .ci/sbom.py [file]
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def linked():
    """Names and versions of what `cargo build -p valence` links, build scripts and tests left out."""
    tree = cargo("tree", "--locked", "-p", "valence", "-e", "normal", "--prefix", "none", "--format", "{p}")
    pattern = re.compile(r"^(\S+) v(\S+)")
    return {match.groups() for match in map(pattern.match, tree.splitlines()) if match}


def component(package, checksums):
    name, version = package["name"], package["version"]
    made = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:cargo/{name}@{version}",
        "bom-ref": f"pkg:cargo/{name}@{version}",
    }
    if package["license"]:
        made["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if (name, version) in checksums:
        made["hashes"] = [{"alg": "SHA-256", "content": checksums[name, version]}]
    return made


def main():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p["checksum"] for p in lock["package"] if "checksum" in p}
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
    wanted = linked()
    packages = [p for p in metadata["packages"] if (p["name"], p["version"]) in wanted]
    packages.sort(key=lambda p: (p["name"], p["version"]))
    operator = next(p for p in packages if p["name"] == "valence")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {**component(operator, checksums), "type": "application"}},
        "components": [component(p, checksums) for p in packages if p is not operator],
    }
    text = json.dumps(document, indent=2) + "\n"
    if len(sys.argv) > 1:
        pathlib.Path(sys.argv[1]).write_text(text)
        print(f"{len(document['components'])} components in {sys.argv[1]}")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
