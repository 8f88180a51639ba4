"""Tables in pages: between two lines that name them, so that a command can renew them."""

BEGIN, END = '<!-- %s: begin -->\n', '<!-- %s: end -->\n'


def place(text, name, markdown):
    """The page's text with another table in the place of that name."""
    begin, end = BEGIN % name, END % name
    before, rest = text.split(begin)
    return before + begin + markdown + end + rest.split(end)[1]
