"""Changes of configuration files."""

import os

from hawse.pipeline.watch import Files


def test_a_change_counts_once_two_looks_agree(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    files = Files([str(path)])
    assert [files.changed(), files.changed()] == [False, False]
    path.write_text("tw")
    assert files.changed() is False
    path.write_text("two")  # still being written
    assert [files.changed(), files.changed(), files.changed()] == [False, True, False]


def test_touching_is_no_change(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    files = Files([str(path)])
    os.utime(path, (1, 1))
    assert [files.changed(), files.changed()] == [False, False]


def test_a_configmap_swap(tmp_path):
    for version in ("1", "2"):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "config.yaml").write_text(version)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    files = Files([str(tmp_path / "config.yaml")])
    (tmp_path / "..tmp").symlink_to("..2")
    os.rename(tmp_path / "..tmp", tmp_path / "..data")
    assert [files.changed(), files.changed(), files.changed()] == [False, True, False]


def test_files_that_go_and_come(tmp_path):
    path = tmp_path / "a"
    files = Files([])
    files.add([str(path)])
    path.write_text("one")
    assert [files.changed(), files.changed()] == [False, True]
    path.unlink()
    assert files.changed() is False
    path.write_text("one")  # an editor's save
    assert [files.changed(), files.changed()] == [False, False]
    path.write_text("three")
    files.take()  # about to be read for another reason
    assert [files.changed(), files.changed()] == [False, False]
