"""The export command: a trained classifier as a folder for use elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from clip_adapter.cli.options import Data, Json, Root
from clip_adapter.cli.summaries import print_json
from clip_adapter.escaping import escape_control_characters
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console


def export(
    classifier: Annotated[
        str,
        typer.Argument(help="champion:DATASET, run:ID, or the path of a classifier's file."),
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Folder to write.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder of an earlier export.")
    ] = False,
    no_encoder: Annotated[
        bool,
        typer.Option(
            "--no-encoder", help="Export the classifier alone: the folder classifies features."
        ),
    ] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--images",
            help="Image file, folder, pattern or tar archive to compare with PyTorch on, repeatable; "
            "else training and validation images of the dataset.",
        ),
    ] = None,
    max_images: Annotated[
        int, typer.Option("--max-images", min=1, help="Largest number of images to compare on.")
    ] = 64,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Model of the encoder, where the file names none."),
    ] = None,
    opset: Annotated[
        int, typer.Option("--opset", min=18, max=23, help="Version of ONNX's operators.")
    ] = 20,
    root: Root = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Export a classifier as a folder: ONNX, model card, and a script that needs no torch.

    The graphs are compared with PyTorch on real images; nothing is written where they disagree.
    Needs the packages of the extra named export: onnx, onnxruntime and onnxscript.
    """
    from clip_adapter.pipeline.export import export as export_folder  # noqa: PLC0415  # torch

    written = export_folder(
        classifier,
        to,
        root=Settings.of(root=root).location,
        data=data,
        model=model,
        encoder=not no_encoder,
        images=images or (),
        max_images=max_images,
        opset=opset,
        overwrite=overwrite,
    )
    if as_json:
        print_json(
            {
                "folder": str(written.folder),
                "files": list(written.files),
                "images": written.images,
                "n_images": written.agreement.n_images,
                "n_unreadable": written.n_unreadable,
                "largest_difference": written.agreement.difference,
            }
        )
        return
    lines = map(escape_control_characters, written.summary)
    plain_console().print("\n".join(lines), soft_wrap=True)
