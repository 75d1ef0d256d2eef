#!/usr/bin/env python3
"""Prints what the binary is made of, as CycloneDX 1.5 in JSON: every crate that is compiled into it
or runs when it is built, with version, licence and checksum, and which needs which.

    contrib/package/sbom.py TARGET

This reads `cargo metadata` and Cargo.lock and not the binary. What only tests and benches need is
left out. The same commit gives the same bytes. cargo-cyclonedx would have to be compiled first.
"""

import json
import subprocess
import sys
import tomllib
import uuid


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["license"]:
        # Older crates write MIT/Apache-2.0.
        found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if package["description"]:
        found["description"] = " ".join(package["description"].split())
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return found


def main():
    (target,) = sys.argv[1:] or sys.exit(__doc__)
    ask = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(ask, check=True, stdout=subprocess.PIPE).stdout)
    with open("Cargo.lock", "rb") as lock:
        locked = tomllib.load(lock)["package"]
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in locked}
    packages = {package["id"]: package for package in metadata["packages"]}
    needs = {}
    for node in metadata["resolve"]["nodes"]:
        wanted = [
            needed["pkg"]
            for needed in node["deps"]
            if any(kind["kind"] in (None, "build") for kind in needed["dep_kinds"])
        ]
        needs[node["id"]] = sorted(set(wanted), key=lambda id: purl(packages[id]))
    root = metadata["resolve"]["root"]
    found, left = {root}, [root]
    while left:
        for needed in needs[left.pop()]:
            if needed not in found:
                found.add(needed)
                left.append(needed)
    product = component(packages[root], checksums) | {"type": "application"}
    order = sorted(found, key=lambda id: purl(packages[id]))
    content = {
        "metadata": {"component": product, "properties": [{"name": "target", "value": target}]},
        "components": [component(packages[id], checksums) for id in order if id != root],
        "dependencies": [
            {"ref": purl(packages[id]), "dependsOn": [purl(packages[needed]) for needed in needs[id]]}
            for id in order
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    head = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
    }
    print(json.dumps(head | content, indent=2))


main()
