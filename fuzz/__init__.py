"""
Fuzzing of what reads the bytes of strangers, guided by coverage: C{python -m fuzz}.

 - L{invproxy.test.hostile.fuzzing}: what must hold of any bytes.
 - L{fuzz.seeds}: what fuzzing starts from.
 - L{fuzz.child}: a process that fuzzes one of them, by atheris.
 - L{fuzz.__main__}: runs these, one after the other, for a bounded time.
"""
