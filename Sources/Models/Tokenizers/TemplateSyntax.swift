// The part of Jinja that chat templates use, as a tree. Whatever is outside it is refused when the model is loaded, with
// its line and the words that were not understood: a prompt put together wrongly would be worse than none.
//
// Environment as transformers sets it: trim_blocks, lstrip_blocks, loop controls, no trailing newline kept.
// Source: jinja.palletsprojects.com/templates, transformers `apply_chat_template`.

package enum TemplateLimit {
    static let sourceBytesMax = 1 << 18
    /// How deep tags and expressions nest in the source.
    static let nestingMax = 32
    /// How many attributes, calls and filters follow one another.
    static let chainMax = 16
    /// How deep evaluation goes, macros included.
    static let depthMax = 160
    /// Statements, expressions and list elements that one rendering may take.
    static let stepsMax = 1 << 21
    /// Bytes of all strings that one rendering makes.
    static let stringBytesMax = 256 << 20
    static let outputBytesMax = 16 << 20
    /// How deep lists and objects lie in one another.
    static let valueDepthMax = 100
    static let namespacesMax = 1 << 12
    static let macrosMax = 256
}

package enum TemplateFault: Error, Hashable, CustomStringConvertible {
    case syntax(line: Int, String)
    case unsupported(line: Int, String)
    case evaluation(line: Int, String)
    /// The template itself objects: `raise_exception('…')`. The message is for whoever wrote the conversation.
    case raised(String)

    package var description: String {
        switch self {
        case .syntax(let line, let reason): "chat template, line \(line): \(reason)"
        case .unsupported(let line, let feature): "chat template, line \(line): \(feature) is not supported"
        case .evaluation(let line, let reason): "chat template, line \(line): \(reason)"
        case .raised(let message): message
        }
    }
}

struct TemplateArguments: Sendable {
    var positional: [Expression] = []
    var named: [(name: String, value: Expression)] = []
}

indirect enum Expression: Sendable {
    case literal(TemplateValue)
    case name(String)
    case list([Expression], isTuple: Bool)
    case dictionary([(key: Expression, value: Expression)])
    case attribute(Expression, String)
    case item(Expression, Expression)
    case slice(Expression, from: Expression?, to: Expression?, step: Expression?)
    case call(Expression, TemplateArguments)
    case filter(Expression, String, TemplateArguments)
    case test(Expression, String, TemplateArguments)
    case not(Expression)
    case negative(Expression)
    case positive(Expression)
    case both([Expression])
    case either([Expression])
    /// Left to right: `first op second op third`.
    case arithmetic(Expression, [(symbol: String, operand: Expression)])
    case comparison(Expression, [(symbol: String, operand: Expression)])
    case joined([Expression])
    case conditional(then: Expression, condition: Expression, otherwise: Expression?)
}

struct Statement: Sendable {
    let line: Int
    let kind: Kind

    indirect enum Kind: Sendable {
        case text([UInt8])
        case output(Expression)
        case set([Target], Expression)
        case setBlock(Target, filters: [(name: String, arguments: TemplateArguments)], body: [Statement])
        case branch([(condition: Expression, body: [Statement])], otherwise: [Statement])
        case loop(targets: [String], Expression, filter: Expression?, body: [Statement], otherwise: [Statement])
        case macro(TemplateMacro)
        case with([(name: String, value: Expression)], body: [Statement])
        /// Marks that change nothing about the text (`{% generation %}`).
        case group([Statement])
        case breakLoop
        case continueLoop
    }

    struct Target: Sendable {
        let name: String
        let attribute: String?
    }
}

struct TemplateMacro: Sendable {
    let name: String
    let parameters: [(name: String, value: Expression?)]
    let body: [Statement]
}
