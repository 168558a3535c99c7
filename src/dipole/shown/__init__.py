"""How text and numbers are shown: on a page, on a terminal, in a line that a shell takes."""
