"""A small interpreter of the Structured Text that is generated: enough to run it, and strict about the rest."""

import operator
import re

import numpy as np

TOKEN = re.compile(r"\s*(?:(\d+\.\d+(?:E[+-]?\d+)?|\d+)|([A-Za-z_]\w*)|(:=|<=|>=|<>|\.\.|[-+*/()\[\];:,<>=]))")
COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


class Block:
    """A function block: call it with theta to get its outputs."""

    def __init__(self, text):
        text = re.sub(r"\(\*.*?\*\)", " ", text, flags=re.S)
        self.tokens, place = [], 0
        text = text.strip()
        while place < len(text):
            match = TOKEN.match(text, place)
            assert match, text[place : place + 40]
            self.tokens.append(match.group(match.lastindex))
            place = match.end()
        self.at = 0
        self.values, self.types = {}, {}
        self.expect("FUNCTION_BLOCK")
        self.take()
        while self.peek() in {"VAR", "VAR_INPUT", "VAR_OUTPUT"}:
            self.declarations()
        self.body = self.statements({"END_FUNCTION_BLOCK"})

    def __call__(self, theta):
        self.values["theta"] = list(theta)
        self.run(self.body)
        return self.values["u"], self.values["status"]

    def peek(self):
        return self.tokens[self.at]

    def take(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, *words):
        for word in words:
            assert self.take() == word, (word, self.tokens[self.at - 5 : self.at + 5])

    def number(self, kind, negative, text):
        value = {"LREAL": np.float64, "REAL": np.float32}.get(kind, int)(text)
        return -value if negative else value

    def literal(self, kind):
        negative = self.peek() == "-"
        if negative:
            self.take()
        return self.number(kind, negative, self.take())

    def declarations(self):
        self.take()
        if self.peek() == "CONSTANT":
            self.take()
        while self.peek() != "END_VAR":
            name = self.take()
            self.expect(":")
            kind, size = self.take(), None
            if kind == "ARRAY":
                self.expect("[", "0", "..")
                size = int(self.take()) + 1
                self.expect("]", "OF")
                kind = self.take()
            self.types[name] = kind
            zero = {"LREAL": np.float64(0), "REAL": np.float32(0), "BOOL": False}.get(kind, 0)
            value = zero if size is None else [zero] * size
            if self.peek() == ":=":
                self.take()
                if size is None:
                    value = self.literal(kind)
                else:
                    self.expect("[")
                    value = [self.literal(kind)]
                    while self.peek() == ",":
                        self.take()
                        value.append(self.literal(kind))
                    self.expect("]")
                    assert len(value) == size
            self.values[name] = value
            self.expect(";")
        self.take()

    def statements(self, ends):
        result = []
        while self.peek() not in ends:
            word = self.take()
            if word == "IF":
                condition = self.expression()
                self.expect("THEN")
                then, other = self.statements({"ELSE", "END_IF"}), []
                if self.take() == "ELSE":
                    other = self.statements({"END_IF"})
                    self.take()
                result.append(("if", condition, then, other))
            elif word == "FOR":
                name = self.take()
                self.expect(":=")
                first = self.expression()
                self.expect("TO")
                last = self.expression()
                self.expect("DO")
                result.append(("for", name, first, last, self.statements({"END_FOR"})))
                self.take()
            elif word == "WHILE":
                condition = self.expression()
                self.expect("DO")
                result.append(("while", condition, self.statements({"END_WHILE"})))
                self.take()
            else:
                index = None
                if self.peek() == "[":
                    self.take()
                    index = self.expression()
                    self.expect("]")
                self.expect(":=")
                result.append(("set", word, index, self.expression()))
            self.expect(";")
        if "END_FUNCTION_BLOCK" in ends:
            self.take()
            assert self.at == len(self.tokens)
        return result

    def expression(self):
        left = self.comparison()
        while self.peek() in {"AND", "OR"}:
            left = (self.take(), left, self.comparison())
        return left

    def comparison(self):
        left = self.total()
        if self.peek() in COMPARE:
            return (self.take(), left, self.total())
        return left

    def total(self):
        left = self.product()
        while self.peek() in {"+", "-"}:
            left = (self.take(), left, self.product())
        return left

    def product(self):
        left = self.factor()
        while self.peek() == "*":
            left = (self.take(), left, self.factor())
        return left

    def factor(self):
        word = self.take()
        if word in {"NOT", "-"}:
            return ("not" if word == "NOT" else "minus", self.factor())
        if word == "(":
            inner = self.expression()
            self.expect(")")
            return inner
        if word in {"TRUE", "FALSE"}:
            return ("value", word == "TRUE")
        if word[0].isdigit():
            return ("value", int(word))
        if self.peek() == "[":
            self.take()
            index = self.expression()
            self.expect("]")
            return ("entry", word, index)
        return ("name", word)

    def evaluate(self, node):
        kind = node[0]
        if kind == "value":
            return node[1]
        if kind == "name":
            return self.values[node[1]]
        if kind == "entry":
            index = self.evaluate(node[2])
            assert index >= 0
            return self.values[node[1]][index]
        if kind == "not":
            return not self.evaluate(node[1])
        if kind == "minus":
            return -self.evaluate(node[1])
        left, right = self.evaluate(node[1]), self.evaluate(node[2])
        if kind == "AND":
            return left and right
        if kind in COMPARE:
            return bool(COMPARE[kind](left, right))
        assert type(left) is type(right), node
        return {"+": operator.add, "-": operator.sub, "*": operator.mul}[kind](left, right)

    def run(self, statements):
        for statement in statements:
            kind = statement[0]
            if kind == "set":
                _, name, index, node = statement
                value = self.evaluate(node)
                if index is None:
                    self.values[name] = value
                else:
                    self.values[name][self.evaluate(index)] = value
            elif kind == "if":
                self.run(statement[2] if self.evaluate(statement[1]) else statement[3])
            elif kind == "while":
                while self.evaluate(statement[1]):
                    self.run(statement[2])
            else:
                _, name, first, last, body = statement
                for i in range(self.evaluate(first), self.evaluate(last) + 1):
                    self.values[name] = i
                    self.run(body)
