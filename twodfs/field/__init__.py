"""The field: the sparse matrix of allotments, and rectangles of it. Pure.

steps        work in steps, between which others have their turn
rectangle    rectangles, and unions of them
partition    the grammar of ``TAG--x1.y1.x2.y2``
names        named partitions of a field
allotment    one cell of a field
cells        the cells of a field, packed and searched
packer       cells in any order -> packed
slices       a field's JSON, read some cells at a time
labels       names of rows, columns and cells for people
selected     the cells that a selection has found, equal ones merged
field        all of it: parsed, packed, searched
document     a field's document, read in bounded memory and written
"""
