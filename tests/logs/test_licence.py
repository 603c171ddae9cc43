"""Licences are told by the log's own files or not at all."""

import pytest

from cosmos_ops.logs.licence import find_licence


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE", "MIT License\n\nPermission is hereby granted, free of charge, to any person", "MIT"),
        ("LICENSE", "   Apache License\n        Version 2.0, January 2004\n", "Apache-2.0"),
        ("LICENSE.txt", "Creative Commons Attribution 4.0 International", "CC-BY-4.0"),
        ("LICENSE.md", "Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("COPYING", "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "GPL-3.0"),
        ("LICENSE", "Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("README.md", "---\ntags: [x]\nlicense: mit\n---\n", "MIT"),
        ("README.md", "---\nlicense: cc-by-sa-4.0\n---\n", "CC-BY-SA-4.0"),
        ("README.md", "we thank the MIT for the robot", None),
        ("LICENSE", "all rights reserved", None),
    ],
)
def test_licence_of_a_folder(tmp_path, name, text, licence):
    (tmp_path / name).write_text(text)
    assert find_licence(tmp_path, {}) == licence


def test_the_metadata_has_the_first_word(tmp_path):
    (tmp_path / "LICENSE").write_text("MIT License. Permission is hereby granted, free of charge")
    assert find_licence(tmp_path, {"license": "apache-2.0"}) == "Apache-2.0"
    assert find_licence(tmp_path, {"license": "NVIDIA Open Data"}) == "NVIDIA Open Data"
    assert find_licence(tmp_path, {"license": 7}) == "MIT"
    assert find_licence(tmp_path / "nothing", {}) is None
