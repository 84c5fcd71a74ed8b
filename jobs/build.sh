#!/bin/sh
# Build the wheel, and the image where there is a container engine: jobs/build.sh [FOLDER]
set -eu
cd "$(dirname "$0")/.."
folder=${1:-dist}
python3 -m hatchling build --target wheel --directory "$folder"
for engine in docker podman; do
    if command -v "$engine" >/dev/null; then
        exec "$engine" build --file deploy/Dockerfile --tag som_dask .
    fi
done
echo "no image: there is neither docker nor podman here" >&2
