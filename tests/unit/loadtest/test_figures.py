import pytest

from common.errors import ConfigError
from loadtest.figures import update


def test_a_block_is_replaced_and_the_rest_stays(tmp_path):
    """A second run of a kind takes the place of the first; other text and other kinds' blocks are untouched."""
    page = tmp_path / "load.md"
    page.write_text("# Load\n\n<!-- storm: begin -->\nold\n<!-- storm: end -->\n\nThe end.\n")
    update(page, "storm", "new figures\n")
    assert page.read_text() == (
        "# Load\n\n<!-- storm: begin -->\n\nnew figures\n\n<!-- storm: end -->\n\nThe end.\n"
    )


def test_a_first_run_is_put_at_the_end(tmp_path):
    """A page that has no block of this kind yet gets one, once."""
    page = tmp_path / "load.md"
    page.write_text("# Load\n")
    update(page, "limit", "one")
    update(page, "limit", "two")
    assert page.read_text() == "# Load\n\n<!-- limit: begin -->\n\ntwo\n\n<!-- limit: end -->\n"


def test_a_page_that_cannot_be_updated_is_told(tmp_path):
    """No page, or one whose block has no end, is an error that names what is missing."""
    with pytest.raises(ConfigError, match="No such file"):
        update(tmp_path / "none.md", "limit", "one")
    page = tmp_path / "load.md"
    page.write_text("<!-- limit: begin -->\n")
    with pytest.raises(ConfigError, match="limit: end"):
        update(page, "limit", "one")
