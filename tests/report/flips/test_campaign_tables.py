"""The page's tables on the trained model come from the file of counts."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[3]


def campaign():
    spec = importlib.util.spec_from_file_location("flip_campaign", ROOT / "scripts" / "flip_campaign.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_tables_that_the_script_makes():
    made = campaign().tables(json.loads((ROOT / "profiles" / "tokens" / "smollm2.json").read_text()))
    assert made in (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_the_counts_add_up():
    counted = json.loads((ROOT / "profiles" / "tokens" / "smollm2.json").read_text())["main"]
    for precision, margins in counted["margins"].items():
        flips = counted["flips"][precision]
        assert sum(row["flips"] for row in margins["in_ulp"]) == len(flips)
        assert sum(row["flips"] for row in counted["rows"] if row["group"] == "all") == len(flips)
        assert sum(row["steps"] for row in margins["in_logits"]) == margins["steps"]
        kinds = [row for row in counted["rows"] if row["group"] in {"question", "code", "chat"}]
        assert sum(row["flips"] for row in kinds) == len(flips)
        # What moved covers every flip's margin.
        assert all(margin <= sum(moved) * (1 + 1e-6) for _, _, _, margin, _, _, moved in flips)
