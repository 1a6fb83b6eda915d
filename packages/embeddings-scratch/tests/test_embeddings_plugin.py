"""What is registered can be resolved, and its smoke values fit its config."""

from __future__ import annotations

from importlib.metadata import entry_points
from pkgutil import resolve_name

from embeddings_scratch import plugin


def registered() -> dict[str, tuple[str, dict]]:
    parts = {}
    for hook in (plugin.register_models, plugin.register_trainers):
        hook(lambda name, target, **more: parts.setdefault(name, (target, more)))
    return parts


def test_parts():
    parts = registered()
    assert set(parts) == {"skipgram", "word2vec"}
    for target, more in parts.values():
        assert callable(resolve_name(target))
        resolve_name(more["config"])(**more["smoke"])
        assert more["summary"]
    assert "word-vectors" in parts["skipgram"][1]["provides"]
    assert parts["word2vec"][1]["needs"] == {"model": ["word-vectors"], "task": ["text"]}


def test_entry_point_is_named_like_the_distribution():
    (entry,) = (e for e in entry_points(group="scratch") if e.value == "embeddings_scratch.plugin")
    assert entry.name == "embeddings-scratch"
