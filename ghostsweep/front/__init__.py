"""What Python users call: every verb takes a name, a path, tables or (where enough) a frame; tables draw themselves.

Uses the other rooms and nothing uses it but the package's own namespace.
"""
