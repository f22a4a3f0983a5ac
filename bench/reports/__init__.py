"""Reports of what was measured: a page, Markdown, and how two sides differ."""
