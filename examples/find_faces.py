"""Finds the face in scikit-image's picture of an astronaut, with published weights of PyTorch.

Shows `fdl.models.pretrained` on the three files of facenet-pytorch, as they are, and the cascade
that the three networks make: `fdl.models.detect_faces`.

Run: python examples/find_faces.py (needs PyTorch, scikit-image, and facenet-pytorch's files)
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle
from skimage import data

import fdl
from fdl._canvas import saved

NETWORKS = {"pnet": fdl.models.pnet, "rnet": fdl.models.rnet, "onet": fdl.models.onet}


def weights_folder() -> Path:
    """Where the package keeps its weights; it is not imported, for it pins old versions."""
    spec = find_spec("facenet_pytorch")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("find_faces needs weights: pip install --no-deps facenet-pytorch")
    return Path(spec.submodule_search_locations[0]) / "data"


def draw(image: np.ndarray, faces: fdl.models.Faces, path: Path) -> None:
    """Draws each face's box, landmarks and probability over the image."""
    with saved(path, "find_faces", (6.0, 6.0)) as figure:
        axes = figure.subplots()
        axes.imshow(image)
        axes.set(xticks=[], yticks=[])
        for (left, top, right, bottom), probability, points in zip(*faces, strict=True):
            box = Rectangle((left, top), right - left, bottom - top, fill=False, ec="#dd8452", lw=2)
            axes.add_patch(box)
            axes.plot(*points.T, "o", color="#dd8452", ms=4)
            axes.text(left, top - 6, f"{probability:.4f}", color="#dd8452", weight="bold")


def main() -> None:
    """Loads the weights, finds the faces, prints and draws them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/find_faces"))
    parser.add_argument("--smallest", type=int, default=40, help="side of a face, in pixels")
    arguments = parser.parse_args()

    folder = weights_folder()
    pnet, rnet, onet = (
        fdl.models.pretrained(folder / f"{name}.pt", like=network())[0]
        for name, network in NETWORKS.items()
    )
    image = data.astronaut()
    faces = fdl.models.detect_faces(pnet, rnet, onet, image, min_face_size=arguments.smallest)

    print(f"faces                {len(faces.boxes)}")
    for box, probability, points in zip(*faces, strict=True):
        print(f"probability          {probability:.4f}")
        print(f"box                  {' '.join(f'{side:.1f}' for side in box)}")
        print(f"landmarks            {' '.join(f'({x:.1f}, {y:.1f})' for x, y in points)}")

    picture = arguments.out / "faces.png"
    draw(image, faces, picture)
    print(f"picture              {picture}")


if __name__ == "__main__":
    main()
