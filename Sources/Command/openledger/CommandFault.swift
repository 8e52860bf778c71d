// What a command can end with. Every failure, whether the API named it or this program did, becomes one of the five exit
// codes of the interface here and nowhere else.

import ArgumentParser
import Primitives

enum ExitStatus: Int32, Sendable {
    case done = 0
    case failed = 1
    case usage = 2
    /// Not reachable or not synced.
    case unreachable = 3
    /// Verification, permission or balance.
    case refused = 4
}

/// A failure with a message for people: what was wrong, where, and what to do.
struct CommandFault: Error, Sendable {
    let status: ExitStatus
    let message: String
    /// Further lines, one a fault of a file.
    var details: [String] = []
    /// The error object of the API, for --json.
    var api: JSONValue?

    init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    /// From the `error` object of Protocol/api.md.
    init(api error: JSONValue, requestID: String?) {
        let type = error["type"]?.text ?? ""
        status = Self.status(ofErrorType: type)
        var message = error["message"]?.text ?? "the peer answered with an error that it did not describe"
        if type == "internal_error", let requestID { message += " (request \(requestID); the peer's log says more)" }
        self.message = message
        let faults = error["details"]?["faults"]?.items ?? []
        details = faults.compactMap { $0["message"]?.text }.filter { $0 != message }
        api = error
    }

    static func status(ofErrorType type: String) -> ExitStatus {
        switch type {
        case "invalid_request_error": .usage
        case "authentication_error", "insufficient_balance", "permission_error", "verification_error": .refused
        case "rate_limit_error", "unavailable_error", "timeout_error": .unreachable
        default: .failed
        }
    }

    var json: JSONValue {
        .object([
            "error": api
                ?? .object([
                    "message": .string(message), "type": .string("command_error"), "param": .null, "code": .null,
                ])
        ])
    }
}
