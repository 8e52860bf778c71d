import Testing

@testable import Decoding

/// By hand from the description in llama.cpp's grammars/README.md.
@Suite struct GBNFTests {
    private func check(_ grammar: String, takes: [String], refuses: [String]) throws {
        let compiled = try Grammar.gbnf(grammar)
        for text in takes { #expect(try ConstraintTests.vocabulary.takes(text, compiled), "refuses \(text)") }
        for text in refuses { #expect(try !ConstraintTests.vocabulary.takes(text, compiled), "takes \(text)") }
    }

    @Test func chessMovesFromTheReadme() throws {
        try check(
            """
            # `root` specifies the pattern for the overall output
            root ::= (
                # it must start with the characters "1. " followed by a sequence
                # of characters that match the `move` rule, followed by a space, followed
                # by another move, and then a newline
                "1. " move " " move "\\n"

                # it's followed by one or more subsequent moves, numbered with one or two digits
                ([1-9] [0-9]? ". " move " " move "\\n")+
            )

            # `move` is an abstract representation, which can be a pawn, nonpawn, or castle.
            # The `[+#]?` denotes the possibility of checking or mate signs after moves
            move ::= (pawn | nonpawn | castle) [+#]?

            pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
            nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
            castle ::= "O-O" "-O"?
            """,
            takes: ["1. e4 e5\n2. Nf3 Nc6\n", "1. d4 d5\n2. c4 dxc4\n3. O-O O-O-O#\n"],
            refuses: ["1. e4 e5\n", "1. e4 e5\n2. Nf3\n", "2. e4 e5\n2. Nf3 Nc6\n", "1. e9 e5\n2. Nf3 Nc6\n", ""])
    }

    @Test func listsAndCounts() throws {
        try check(
            "root ::= item+\nitem ::= \"- \" [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]+ \"\\n\"",
            takes: ["- a\n", "- é€😀\n- b\n"], refuses: ["- \n", "a\n", "- a", "- a\u{2028}\n"])
        try check(
            "root ::= [a-c]{2} \"-\" \"x\"{1,} \"-\" [0-9]{0,2}", takes: ["ab-x-", "cc-xxx-42"],
            refuses: ["a-x-", "abc-x-", "ab--", "ab-x-123"])
        try check("root ::= \"ab\"* .", takes: ["x", "abé", "ababz", "aba"], refuses: ["", "xx", "abab€€"])
    }

    @Test func arithmeticFromTheRepository() throws {
        try check(
            """
            root  ::= (expr "=" ws term "\\n")+
            expr  ::= term ([-+*/] term)*
            term  ::= ident | num | "(" ws expr ")" ws
            ident ::= [a-z] [a-z0-9_]* ws
            num   ::= [0-9]+ ws
            ws    ::= [ \\t\\n]*
            """,
            takes: ["1+2=3\n", "(a_1 *22) /b = c9\n", "x=1\ny=2\n"], refuses: ["1+=3\n", "1=2", "(1=2\n", "=1\n"])
    }

    @Test func recursionAndEmptiness() throws {
        try check(
            "root ::= \"(\" root \")\" root | \"\"", takes: ["", "()", "(())()", "((()))"], refuses: ["(", ")(", "(()"])
        try check(
            "root ::= a b? a\na ::= \"x\"?\nb ::= \"y\" |", takes: ["", "x", "xx", "xyx", "y"], refuses: ["xxx", "yy"])
        // A palindrome needs every split at once.
        try check(
            "root ::= \"a\" root \"a\" | \"b\" root \"b\" | [ab]?", takes: ["", "a", "abba", "ababa", "aaaa"],
            refuses: ["ab", "aab"])
    }

    @Test(arguments: [
        ("root ::= \"a", "line 1, column 12"), ("root := \"a\"", "line 1, column 7"),
        ("root ::= *", "line 1, column 10"),
        ("root ::= (\"a\"", "line 1, column 14"), ("root ::= a", "line 1, column 10"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1"), ("root ::= [b-a]", "line 1, column 14"),
        ("root ::= \"\\q\"", "line 1, column 13"), ("root ::= \"a\"{3,1}", "line 1, column 18"),
        ("root ::= \"x\" a\na ::= a \"y\" | \"z\"", "line 2, column 1"), ("root ::= <think>", "line 1, column 10"),
    ])
    func faultsNameLineAndColumn(_ grammar: String, _ place: String) {
        #expect(performing: { try Grammar.gbnf(grammar) }, throws: { ($0 as? GrammarFault)?.place == place })
    }
}
