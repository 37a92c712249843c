"""Is a model's attention in the Goldilocks zone? Every head of a model of transformers, on a text.

MODEL is a folder, or a repository on the hub (owner/name, owner/name@revision), that transformers loads and that
attends through its attention interface; FILE is a text (UTF-8). The model reads the text in windows, and each head is
measured: its logits' σ, the entropy of its softmax, the gradient that is left. A head is

  inside       its softmax passes enough gradient, and tells keys apart
  saturated    it passes too little: a few keys have all of the probability
  flat         it hardly tells keys apart: all have about the same

Guessing this from weights and norms alone does not work: real queries and keys align, so on trained models the logits
are many times larger than for random inputs.

examples:
  goldilocks attention my-model/ --text my.txt
  goldilocks attention openai-community/gpt2 --text my.txt --out heads.parquet
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goldilocks.core import cli

if TYPE_CHECKING:
    import pandas as pd

ZONES = ("inside", "saturated", "flat", "unknown")
WORST = 3
LONGEST_REASON = 300  # characters
WINDOWS = 16
LENGTH = 512  # tokens; longer windows are asked for
CHARACTERS = 32  # of a text for each token: more than any tokenizer makes of prose


def load(model: str) -> tuple[Any, Any]:
    """A model and its tokenizer, by transformers; no code of the model's is run, and no pickle read.

    Raises:
        UserError: if transformers can't.
    """
    import transformers

    quiet: Any = transformers.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    where, at, revision = (model, "", "") if Path(model).exists() else model.partition("@")
    chosen: dict[str, Any] = {"trust_remote_code": False} | ({"revision": revision} if at else {})
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **chosen)
        loaded, info = transformers.AutoModel.from_pretrained(
            where, use_safetensors=True, output_loading_info=True, **chosen
        )
    except Exception as error:  # whatever transformers makes of what is there
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise cli.UserError(f"{model}: transformers can't load it: {reason}") from None
    absent = sorted(info["missing_keys"])
    if any(re.search(r"(^|\.)\d+\.", name) for name in absent):
        raise cli.UserError(
            f"{model}: {len(absent)} of its tensors are not in its files, such as {absent[0]}: they would be random"
        )
    if absent:
        print(cli.plain(f"{model}: not in its files, so random: {', '.join(absent[:3])}"), file=sys.stderr)
    return loaded, tokenizer


def read_text(path: Path, most: int) -> str:
    """A text, or so many characters of its beginning.

    Raises:
        UserError: if it is none.
    """
    try:
        with path.open(encoding="utf-8") as handle:
            return handle.read(most)
    except UnicodeDecodeError:
        raise cli.UserError(f"{path}: not UTF-8 text") from None


def line(head: pd.Series[Any]) -> str:
    """One head's numbers."""
    name = f"block {head['block']} head {head['head']}"
    return (
        f"  {name:<16}  {head['zone']:<9}  gradient {head['relative_gradient']:.3f}  "
        f"discrimination {head['discrimination']:.3g}  σ {head['logit_std_in_rows']:.3g}  "
        f"entropy {head['normalised_entropy']:.3f}  {head['module']}"
    )


def summary(model: str, frame: pd.DataFrame) -> str:
    """How many heads lie where, and those that lie farthest out."""
    about = frame.attrs
    counts = frame["zone"].value_counts()
    zones = ", ".join(f"{counts.get(zone, 0)} {zone}" for zone in ZONES if zone in counts or zone != "unknown")
    lines = [
        f"{model}: {len(frame)} heads; {about['windows']} windows, {about['tokens']} tokens",
        f"  {zones}",
        f"least gradient, of an even row's ({about['least_gradient']:g} in the zone):",
        *(line(head) for _, head in frame.nsmallest(WORST, "relative_gradient").iterrows()),
        f"least discrimination, largest probability times keys ({about['least_discrimination']:g} in the zone):",
        *(line(head) for _, head in frame.nsmallest(WORST, "discrimination").iterrows()),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = cli.parser(__doc__, "tools.attention")
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--out", type=Path, help="write every head to this Parquet file")
    parser.add_argument("--length", type=int, help="tokens of a window; what the model sees, up to 512")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="how many to read at most, default %(default)s")
    arguments = parser.parse_args()
    if not 1 <= arguments.windows <= 10**6 or (arguments.length or 0) > 10**6:
        parser.error("--windows must lie in 1 to 1,000,000, and --length must not be more")
    text = read_text(arguments.text, arguments.windows * max(arguments.length or 0, LENGTH) * CHARACTERS)
    from goldilocks.models import parquet
    from goldilocks.models.attention import attention

    if arguments.out:
        parquet.may_be_replaced(arguments.out)
    model, tokenizer = load(arguments.model)
    frame = attention(model, tokenizer, [text], length=arguments.length, windows=arguments.windows)
    if arguments.out:
        about = {"model": arguments.model} | {str(name): value for name, value in frame.attrs.items()}
        parquet.write(arguments.out, "attention", frame, about)
    print(summary(arguments.model, frame))


if __name__ == "__main__":
    cli.run(main)
