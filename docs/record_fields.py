"""For the site: what comments say of the fields of a record becomes part of its docstring."""

import re

import griffe

_COMMENT = re.compile(r'''(?:[^#'"]|'[^']*'|"[^"]*")*#:? *(.*)''')


class RecordFields(griffe.Extension):
    """Gives the docstring of each named tuple a section on its fields."""

    def on_class_members(self, *, cls, **_):
        is_record = any('NamedTuple' in str(base) for base in cls.bases)
        if not is_record or cls.docstring is None or 'Attributes:' in cls.docstring.value:
            return
        lines = cls.lines_collection[cls.filepath]
        fields = ['  %s: %s' % (field.name, _comment(lines, field) or '\xa0')
                  for field in cls.attributes.values() if field.annotation is not None]
        if fields:
            cls.docstring.value += '\n\nAttributes:\n' + '\n'.join(fields)


def _comment(lines, field):
    """The comment behind a field, and the lines that begin with `#:` above it."""
    words = [found.group(1) for line in lines[field.lineno - 1:field.endlineno]
             for found in [_COMMENT.fullmatch(line)] if found]
    above = field.lineno - 2
    while lines[above].strip().startswith('#:'):
        words.insert(0, lines[above].strip()[2:].strip())
        above -= 1
    return ' '.join(words)
