"""The network: backbone, trunk, quality heads, style space, text, enhancer, losses. Torch only, no files."""
