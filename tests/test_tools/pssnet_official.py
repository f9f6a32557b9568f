"""Names and shapes of official PSSNet checkpoints, by the published description of them."""

CHANNELS = (1, 4, 2)
CRITIC = (64, 128, 256, 512)


def swin_shapes(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7):
    """The backbone as mmseg names it."""
    shapes = {
        'patch_embed.projection.weight': (width, 3, 4, 4),
        'patch_embed.projection.bias': (width,),
        **norm('patch_embed.norm', width),
    }
    for i, (depth, num_heads) in enumerate(zip(depths, heads, strict=True)):
        c = width * 2**i
        for j in range(depth):
            block = f'stages.{i}.blocks.{j}'
            shapes |= norm(f'{block}.norm1', c) | norm(f'{block}.norm2', c)
            shapes[f'{block}.attn.w_msa.relative_position_bias_table'] = (
                (2 * window - 1) ** 2,
                num_heads,
            )
            shapes[f'{block}.attn.w_msa.relative_position_index'] = (window**2, window**2)
            shapes |= linear(f'{block}.attn.w_msa.qkv', c, 3 * c)
            shapes |= linear(f'{block}.attn.w_msa.proj', c, c)
            shapes |= linear(f'{block}.ffn.layers.0.0', c, 4 * c)
            shapes |= linear(f'{block}.ffn.layers.1', 4 * c, c)
        if i < len(depths) - 1:
            shapes |= norm(f'stages.{i}.downsample.norm', 4 * c)
            shapes[f'stages.{i}.downsample.reduction.weight'] = (2 * c, 4 * c)
        shapes |= norm(f'norm{i}', c)
    return shapes


def norm(name, channels):
    return {f'{name}.weight': (channels,), f'{name}.bias': (channels,)}


def linear(name, before, after, kernel=()):
    return {f'{name}.weight': (after, before, *kernel), f'{name}.bias': (after,)}


def conv_gn(name, before, after, kernel):
    return {f'{name}.conv.weight': (after, before, kernel, kernel), **norm(f'{name}.gn', after)}


def generator_shapes(*, attention, width=128, window=16, heads=4, swin=None):
    """Stage 1's model, or stage 2's generator: grouped convolutions, outputs task by task."""
    swin = swin or {}
    shapes = {f'backbone.{name}': shape for name, shape in swin_shapes(**swin).items()}
    first = swin.get('width', 96)
    packed = len(CHANNELS) * width
    for p in range(4):
        shapes |= conv_gn(f'decode_head.psp_modules.{p}.1', 8 * first, packed, 1)
    shapes |= conv_gn('decode_head.bottleneck', 8 * first + 4 * width, packed, 3)
    for k in range(3):
        shapes |= conv_gn(f'decode_head.lateral_convs.{k}', first * 2**k, packed, 1)
        shapes |= conv_gn(f'decode_head.fpn_convs.{k}', width, packed, 3)
    shapes |= conv_gn('decode_head.fpn_bottleneck', 4 * width, packed, 3)
    shapes |= conv_gn('auxiliary_head.convs.0', 4 * first, packed, 3)
    for head in ('decode_head', 'auxiliary_head'):
        for t, channels in enumerate(CHANNELS):
            shapes |= linear(f'{head}.conv_seg.{t}', width, channels, (1, 1))
    if attention:
        attn = 'decode_head.attn'
        for k in range(6):
            shapes |= linear(f'{attn}.w_msa.{k}.q', width, width)
            shapes |= linear(f'{attn}.w_msa.{k}.kv', width, 2 * width)
            shapes |= linear(f'{attn}.w_msa.{k}.proj', width, width)
            shapes |= norm(f'{attn}.w_msa.{k}.norm1', width)
            shapes |= norm(f'{attn}.w_msa.{k}.norm2', width)
            shapes[f'{attn}.w_msa.{k}.relative_position_bias_table'] = (
                (2 * window - 1) ** 2,
                heads,
            )
            shapes |= norm(f'{attn}.norm2.{k}', width)
            shapes |= linear(f'{attn}.ffn.{k}.layers.0.0', width, 4 * width)
            shapes |= linear(f'{attn}.ffn.{k}.layers.1', 4 * width, width)
        shapes |= conv_gn(f'{attn}.proj', 2 * width, width, 1)
    return shapes


def adversarial_shapes(critic=CRITIC, **options):
    """Stage 2's model with its six critics."""
    shapes = {f'generator.{k}': v for k, v in generator_shapes(attention=True, **options).items()}
    for kind in ('discriminator', 'auxiliary_discriminator'):
        for t, channels in enumerate(CHANNELS):
            widths = (channels, *critic, 1)
            for k in range(len(widths) - 1):
                shapes |= linear(f'{kind}.{t}.conv{k + 1}.conv', *widths[k : k + 2], (4, 4))
    return shapes
