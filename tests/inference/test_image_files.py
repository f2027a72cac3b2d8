from transferflow.inference.image_files import list_images


def test_a_folder_gives_every_file_that_may_be_an_image(tmp_path):
    for name in ("photo.JPG", "scan.dcm", "scan.dicom", "mask.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "@eaDir" / "photo.JPG").mkdir(parents=True)
    (tmp_path / "@eaDir" / "photo.JPG" / "SYNOPHOTO_THUMB_M.jpg").touch()
    found = list_images([tmp_path], tmp_path / "out")
    assert [path.name for path in found] == ["mask.png", "photo.JPG", "scan.dcm", "scan.dicom"]


def test_what_was_written_below_the_images_is_no_input(tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    for folder in (tmp_path, output):
        (folder / "a.png").touch()
    assert list_images([tmp_path], output) == [tmp_path / "a.png"]
    assert list_images([tmp_path], tmp_path) == [tmp_path / "a.png", output / "a.png"]
    assert list_images([output], tmp_path) == [output / "a.png"]
    assert list_images([tmp_path], tmp_path.parent / "elsewhere") == [tmp_path / "a.png", output / "a.png"]
