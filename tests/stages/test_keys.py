from transferflow.stages.keys import changed_inputs, prepare_inputs, train_inputs
from transferflow.store import digest


def test_key_ignores_what_cannot_change_the_result(build_spec, make_snapshot):
    training = {"epochs": 2, "batch_size": 12, "device": "cpu", "workers": 0}
    elsewhere = {"epochs": 2, "batch_size": 12, "device": "cuda", "workers": 8}
    elsewhere |= {"checkpoint": {"every_minutes": 1.0, "keep": 5}}
    one, two = build_spec(training=training), build_spec(training=elsewhere)
    assert digest(train_inputs(one, make_snapshot())) == digest(train_inputs(two, make_snapshot()))


def test_key_changes_with_everything_that_shapes_the_weights(build_spec, make_snapshot):
    base = digest(train_inputs(build_spec(), make_snapshot()))
    changed = [
        build_spec(optimizer={"lr": 1e-3}),
        build_spec(freeze={"policy": "none", "batch_norm": "all_frozen"}),
        build_spec(head={"dropout": 0.5}),
        build_spec(augmentation={"preset": "similar_domain"}),
        build_spec(training={"epochs": 2, "batch_size": 12, "seed": 1}),
    ]
    keys = {digest(train_inputs(spec, make_snapshot())) for spec in changed}
    assert len(keys) == len(changed)
    assert base not in keys
    assert digest(train_inputs(build_spec(), make_snapshot("e" * 64))) != base


def test_what_chooses_the_kept_epoch_is_in_the_key_of_train(build_spec, make_snapshot):
    def key(metric, specificity=0.9):
        gate = {"gate": {"metric": metric}}
        spec = build_spec(registration=gate, evaluation={"specificity": specificity})
        return digest(train_inputs(spec, make_snapshot()))

    assert key("accuracy") == key(None) == key("accuracy", 0.8)
    assert key("auroc") != key("accuracy")
    assert key("sensitivity_at_specificity", 0.8) != key("sensitivity_at_specificity")


def test_model_settings_do_not_prepare_the_data_again(build_spec):
    one, two = build_spec(), build_spec(optimizer={"lr": 1e-4}, training={"epochs": 9})
    assert prepare_inputs(one, "listing") == prepare_inputs(two, "listing")


def test_folders_of_links_count_where_there_are_any(build_spec):
    data = {"format": "image_folder", "root": "data"}
    one = prepare_inputs(build_spec(data=data), "listing")
    assert "link_roots" not in one["data"]
    assert prepare_inputs(build_spec(data={**data, "link_roots": ["cache"]}), "listing") != one


def test_changed_inputs_are_said_in_words(build_spec, make_snapshot):
    old = train_inputs(build_spec(), make_snapshot())
    new = train_inputs(build_spec(optimizer={"lr": 3e-4}), make_snapshot("e" * 64))
    assert changed_inputs(old, new) == [
        "optimizer.lr: 0.003 → 0.0003",
        "snapshot: ffffffffffff → eeeeeeeeeeee",
    ]
