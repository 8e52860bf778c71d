import Primitives

/// Why a row that stood in the prompt is paid nothing, in a sentence.
enum SourceReasons {
    /// Empty where it is paid.
    static func shown(_ source: JSONValue) -> String {
        guard let reason = source["reason"]?.text else { return "" }
        return ": " + text(reason) + (source["instead"]?.text.map { " (\($0))" } ?? "")
    }

    static func text(_ reason: String) -> String {
        switch reason {
        case "duplicate": "says what an earlier row says, which has its part"
        case "echo": "says in other words what a row says that is paid"
        case "threshold": "stood in the prompt, and the answer owes it too little"
        case "rank": "others stand out more"
        case "rounding": "less than a millionth"
        case "unweighed": "the server did not come to weigh the evidence; nobody is paid"
        default: reason
        }
    }
}
