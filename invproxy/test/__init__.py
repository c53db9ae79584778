"""
Tests of invproxy, run by C{make unit} and C{make integration}.
"""
