"""Mangled names (`_ZN7cutlass7Kernel2I…`), as nvprof, Nsight Compute, CUDA graphs and binaries print them.

A reader of the Itanium C++ ABI's <name>: nested names, template arguments, literals, substitutions, pointers,
packs, lambdas. Parameters are left out, since a kernel's identity is its template argument list. What it does not
know (expressions, decltype) makes it stop: the rest of the name is then kept unread, behind the path that was
read, so a cut name still shows whose function it is.

Source: Itanium C++ ABI, section 5.1.
"""

import re

_BUILTIN = {
    "v": "void",
    "b": "bool",
    "c": "char",
    "a": "signed char",
    "h": "unsigned char",
    "s": "short",
    "t": "unsigned short",
    "i": "int",
    "j": "unsigned int",
    "l": "long",
    "m": "unsigned long",
    "x": "long long",
    "y": "unsigned long long",
    "f": "float",
    "d": "double",
    "e": "long double",
    "w": "wchar_t",
    "z": "...",
}
_LITERAL_SUFFIX = {"i": "", "j": "u", "l": "l", "m": "ul", "x": "ll", "y": "ull"}
_STANDARD = {"St": "std", "Sa": "std::allocator", "Ss": "std::string", "Sb": "std::basic_string"}
_QUALIFIERS = {"P": "*", "R": "&", "O": "&&", "K": " const", "V": " volatile"}
_DIGITS = re.compile(r"[0-9]{1,6}")
_DEEPEST = 80
# Substitutions can double a text at every step: what is built in all may be so many times the name's length.
_GROWTH = 200


class _StopError(Exception):
    """The name ends early or holds what this reader does not know."""


def demangle(name: str) -> str | None:
    """Return a mangled name's function with its template arguments; None where not even a path can be read."""
    if not name.startswith("_Z"):
        return None
    reader = _Reader(name)
    try:
        found = reader.encoding()
    except _StopError:
        return f"{reader.path}<{name[reader.path_end :]}" if reader.path else None
    # What could not be read follows unread, inside the list that it left open.
    return found + name[reader.position :] if reader.cut else found


class _Reader:
    """One mangled name and how far it is read."""

    def __init__(self, text: str) -> None:
        # A closing NUL marks the end: no construct begins with it, so reading past the end needs no test.
        self.text = text + "\0"
        self.position = 2
        self.path = ""
        self.path_end = 2
        self.known: list[str] = []
        # Set once a template argument could not be read: what is open stays open, and nothing more is read.
        self.cut = False
        self.depth = 0
        self.budget = _GROWTH * len(text) + 10_000

    def encoding(self) -> str:
        """Read the function's name."""
        return self._name(outermost=True)

    def _look(self) -> str:
        return self.text[self.position]

    def _pair(self) -> str:
        return self.text[self.position : self.position + 2]

    def _take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.position):
            self.position += len(expected)
            return True
        return False

    def _built(self, text: str) -> str:
        self.budget -= len(text)
        if self.budget < 0:
            raise _StopError
        return text

    def _number(self) -> int:
        start = self.position
        found = _DIGITS.match(self.text, start)
        if found is None:
            raise _StopError
        self.position = found.end()
        return int(found.group())

    def _source_name(self) -> str:
        length = self._number()
        start = self.position
        if length == 0 or start + length >= len(self.text):
            raise _StopError
        self.position += length
        word = self.text[start : self.position]
        return "(anonymous namespace)" if word.startswith("_GLOBAL__N_") else word

    def _unqualified(self) -> str:
        letter = self._look()
        if letter == "L":
            self.position += 1
            letter = self._look()
        if letter.isdigit():
            word = self._source_name()
            while self._look() == "B":
                self.position += 1
                self._source_name()
            return word
        if self._take("Ul"):
            while not self.cut and not self._take("E"):
                self._type()
            return "{lambda()}" if self.cut else self._discriminated("{lambda()#%d}")
        if self._take("Ut"):
            return self._discriminated("{unnamed type#%d}")
        if self._pair() in ("cl", "cv"):
            conversion = self._pair() == "cv"
            self.position += 2
            return f"operator {self._type()}" if conversion else "operator()"
        if self._pair() in ("C1", "C2", "D1", "D2"):
            self.position += 2
            return "{constructor}"
        raise _StopError

    def _discriminated(self, form: str) -> str:
        number = 1 if self._look() == "_" else self._number() + 2
        if not self._take("_"):
            raise _StopError
        return form % number

    def _name(self, outermost: bool = False) -> str:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _StopError
        if self._take("N"):
            found = self._nested(outermost)
        elif self._take("Z"):
            found = self._local()
        else:
            found = self._unscoped(outermost)
        self.depth -= 1
        return found

    def _local(self) -> str:
        """Read `Z <function> E <entity>`: a lambda or class inside a function."""
        function = self._name()
        while not self.cut and not self._take("E"):
            self._type()
        if self.cut or self._take("s"):
            return function
        return self._built(f"{function}()::{self._name()}")

    def _unscoped(self, outermost: bool) -> str:
        if self._look() == "S" and self._pair() != "St":
            found = self._substitution()
        else:
            standard = self._take("St")
            found = ("std::" if standard else "") + self._unqualified()
            if self._look() == "I":
                self.known.append(found)
        if outermost:
            self._at(found)
        if self._look() == "I":
            found = self._built(found + self._template_arguments())
        return found

    def _nested(self, outermost: bool) -> str:
        while self._look() in "KVr":
            self.position += 1
        found = ""
        text = self.text
        while not self.cut:
            letter = text[self.position]
            if letter == "E":
                self.position += 1
                break
            substituted = False
            if letter == "I":
                if outermost and self.path == found:
                    self.path_end = self.position
                found += self._template_arguments()
            elif letter == "S":
                found = self._substitution()
                substituted = True
            elif letter == "T":
                found = self._template_parameter()
            else:
                word = self._unqualified()
                found = f"{found}::{word}" if found else word
                if outermost:
                    self._at(found)
            self._built(found)
            if not substituted and not self.cut and text[self.position] != "E":
                self.known.append(found)
        return found

    def _at(self, path: str) -> None:
        """Remember the outermost path so far, for a name that ends early."""
        self.path = path
        self.path_end = self.position

    def _substitution(self) -> str:
        short = self._pair()
        if short in _STANDARD:
            self.position += 2
            return _STANDARD[short]
        if not self._take("S"):
            raise _StopError
        return self._numbered(self.known)

    def _template_parameter(self) -> str:
        self.position += 1
        start = self.position
        end = self.text.find("_", start, start + 6)
        if end < 0:
            raise _StopError
        self.position = end + 1
        return f"T{self.text[start:end]}"

    def _numbered(self, known: list[str]) -> str:
        start = self.position
        end = self.text.find("_", start, start + 6)
        digits = self.text[start:end]
        if end < 0 or not (digits == "" or (digits.isalnum() and digits.isascii())):
            raise _StopError
        place = 0 if not digits else int(digits, 36) + 1
        if place >= len(known):
            raise _StopError
        self.position = end + 1
        return known[place]

    def _template_arguments(self) -> str:
        if not self._take("I"):
            raise _StopError
        found = [argument for argument in self._arguments_until_end() if argument]
        if self.cut:
            return self._built(f"<{', '.join(found)}")
        return self._built(f"<{', '.join(found)}{' ' if found and found[-1].endswith('>') else ''}>")

    def _arguments_until_end(self) -> list[str]:
        found: list[str] = []
        try:
            while not self.cut:
                letter = self.text[self.position]
                if letter == "E":
                    self.position += 1
                    break
                if letter == "L":
                    self.position += 1
                    found.append(self._literal())
                elif letter == "J":
                    self.position += 1
                    found += self._pack()
                else:
                    found.append(self._type())
        except _StopError:
            self.cut = True
        return found

    def _pack(self) -> list[str]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _StopError
        found = self._arguments_until_end()
        self.depth -= 1
        return found

    def _literal(self) -> str:
        if self._look() == "_" and self._take("_Z"):
            found = f"&{self._name()}"
            while not self.cut and not self._take("E"):
                self._type()
            return found
        kind = self._look()
        type_name = self._type()
        end = self.text.find("E", self.position, self.position + 26)
        if end < 0:
            raise _StopError
        value = self.text[self.position : end]
        self.position = end + 1
        if value.startswith("n"):
            value = f"-{value[1:]}"
        if kind == "b":
            return "true" if value == "1" else "false"
        if kind in _LITERAL_SUFFIX:
            return value + _LITERAL_SUFFIX[kind]
        return self._built(f"({type_name}){value}")

    def _type(self) -> str:
        letter = self._look()
        if letter in _BUILTIN:
            self.position += 1
            return _BUILTIN[letter]
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _StopError
        found = self._compound(letter)
        self.depth -= 1
        return found

    def _compound(self, letter: str) -> str:  # noqa: PLR0911 - one line per kind of type
        if letter in "NZ" or letter.isdigit() or self._pair() == "St":
            return self._remember(self._name())
        if letter in "ST":
            found = self._substitution() if letter == "S" else self._remember(self._template_parameter())
            return self._remember(found + self._template_arguments()) if self._look() == "I" else found
        if letter == "D":
            return self._special()
        if letter == "F":
            return self._function()
        self.position += 1
        if letter in _QUALIFIERS:
            return self._remember(self._qualified(_QUALIFIERS[letter]))
        if letter == "A":
            size = self._number()
            if not self._take("_"):
                raise _StopError
            return self._remember(f"{self._type()} [{size}]")
        if letter == "M":
            of_class, member = self._type(), self._type()
            return self._remember(f"{member} {of_class}::*")
        if letter == "u":
            return self._remember(self._source_name())
        self.position -= 1
        raise _StopError

    def _qualified(self, qualifier: str) -> str:
        """Read a pointer to, reference to or qualified form of a type; that of a function goes inside it."""
        of_function = self._look() == "F"
        found = self._type()
        if not of_function:
            return found + qualifier
        result, _, parameters = found.partition(" (")
        return f"{result} ({qualifier.strip()})({parameters}"

    def _special(self) -> str:
        if self._take("Dp"):
            return self._remember(self._type())
        if self._take("Dn"):
            return "decltype(nullptr)"
        if self._take("DF16b"):
            return "__bf16"
        if self._take("DF16_") or self._take("Dh"):
            return "_Float16"
        raise _StopError

    def _function(self) -> str:
        self.position += 1
        parts: list[str] = []
        while not self.cut and not self._take("E"):
            parts.append(self._type())
        if not parts:
            raise _StopError
        parameters = [] if parts[1:] == ["void"] else parts[1:]
        return self._remember(f"{parts[0]} ({', '.join(parameters)})")

    def _remember(self, text: str) -> str:
        self.known.append(self._built(text))
        return text
