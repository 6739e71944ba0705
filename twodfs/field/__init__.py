"""The field: the sparse matrix of allotments, and rectangles of it. Pure.

rectangle    rectangles, and unions of them
partition    the grammar of ``TAG--x1.y1.x2.y2``
coverage     which rectangles hold none of some cells
allotment    one cell of a field
cells        the cells of a field, packed and searched
slices       a field's JSON, read some cells at a time
selected     the cells that a selection has found, equal ones merged
field        all of it: parsed, packed, written
reading      a field's document -> field, in bounded memory
"""
