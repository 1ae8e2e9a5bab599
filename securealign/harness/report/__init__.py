"""Recorded runs as one HTML page: what was done, the messages, the costs, and what each party saw.

`steps`, `words` and `comparison` compute what is shown; the templates hold the prose (`words.html`,
`ledger.html`) and the drawings (`drawings.html`, called by `bars` and `timeline`); `page` fills them in. Every number
on the page is a `Shown` of `units`: words for the eye, and beside them the exact value from the file. The texts in a
run file come from a stranger, so templates escape them.
"""
