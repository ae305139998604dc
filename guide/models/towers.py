"""Weights of vision and audio encoders, counted from their part of a config.json.

They take memory, and time only where a request holds an image; text alone is modelled.
"""

from __future__ import annotations

from guide.models.config import ConfigView


def tower_parameters(view: ConfigView) -> int:
    """Weights of the encoders of a multimodal checkpoint; 0 for a text model."""
    return _vision(view) + _audio(view)


def _vision(view: ConfigView) -> int:
    """A ViT with biases and two LayerNorms a layer (exact for SigLIP), and its patch merger."""
    vision = view.section("vision_config")
    if vision is None:
        return 0
    width = vision.optional_count("hidden_size", "vt_hidden_size")
    layers = vision.optional_count("num_hidden_layers", "vt_num_hidden_layers", "depth")
    ffn = vision.optional_count("intermediate_size", "vt_intermediate_size")
    if not width or not layers or not ffn:
        return 0
    patch = vision.count("patch_size", default=14)
    if vision.text("model_type") == "pixtral":
        return _pixtral(view, width, layers, ffn, patch)
    gemma = vision.text("model_type") == "gemma4_vision"
    matrices = 3 if gemma or vision.text("hidden_act") == "silu" else 2
    layer = 4 * width * width + matrices * width * ffn + 9 * width + ffn
    return (
        layers * layer
        + (3 * patch * patch + 1 + _positions(vision, patch) + 2) * width
        + _merger(view, vision, width)
    )


def _pixtral(view: ConfigView, width: int, layers: int, ffn: int, patch: int) -> int:
    """Mistral's ViT, without biases and tables of positions, and its projector (exact)."""
    tower = layers * (4 * width * width + 3 * width * ffn + 2 * width) + (3 * patch**2 + 1) * width
    text, side = view.count("hidden_size"), view.count("spatial_merge_size", default=1)
    merger = width + side**2 * width**2 if side > 1 else 0
    return tower + merger + width * text + text * text


def _positions(vision: ConfigView, patch: int) -> int:
    stated = vision.optional_count("num_position_embeddings")
    if stated is not None:
        return stated
    axes = vision.optional_count("position_embedding_size")  # Gemma 4: one table an axis
    if axes is not None:
        return 2 * axes
    side = vision.optional_count("init_pos_emb_height")
    if side is not None:
        return side * vision.count("init_pos_emb_width", default=side)
    if vision.text("position_embedding_type") == "rope":
        return 0
    return (vision.count("image_size", default=patch) // patch) ** 2


def _merger(view: ConfigView, vision: ConfigView, width: int) -> int:
    """The projector: neighbouring patches are joined, then mapped to the language model."""
    projected = vision.optional_count("projection_dim")
    if vision.section("img_token_compression_config") is not None and projected:
        merge = 4 * projected * projected + projected * projected
        return width * projected + projected * projected + merge
    text = view.optional_count("hidden_size") or 0
    out = vision.optional_count("out_hidden_size")
    side = vision.optional_count("spatial_merge_size")
    if out is None:
        if vision.optional_count("vt_hidden_size") is None:
            return width * text if vision.text("model_type") == "gemma4_vision" else 0
        out, side = text, 2
    joined = width * (side or 1) ** 2
    deep = len(vision.entries("deepstack_visual_indexes") or ())
    return (1 + deep) * (joined * joined + joined * out)


def _audio(view: ConfigView) -> int:
    audio = view.section("audio_config")
    if audio is None:
        return 0
    width = audio.optional_count("hidden_size", "d_model")
    layers = audio.optional_count("num_hidden_layers", "encoder_layers", "conf_num_hidden_layers")
    if not width or not layers:
        return 0
    ffn = audio.optional_count("intermediate_size", "encoder_ffn_dim") or 4 * width
    return layers * (4 * width * width + 2 * width * ffn)
