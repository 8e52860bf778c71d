// Which methods a known path takes, for the 405 that a wrong one is answered with (RFC 9110, section 15.5.6). The router
// itself says "not found" to both, so this is its table of routes once more, asked only after it has given up.

import HTTPTypes
import Hummingbird
import Synchronization

/// Filled once, after the last route was added: the guard that asks stands before the routes.
final class AllowedMethods: Sendable {
    private enum Part: Comparable {
        case word(String)
        case anyWord
        case anyRest

        private var rank: Int {
            switch self {
            case .word: 0
            case .anyWord: 1
            case .anyRest: 2
            }
        }

        /// A word goes before a parameter: the order in which the router tries them.
        static func < (left: Part, right: Part) -> Bool { left.rank < right.rank }
    }

    private struct Route {
        let parts: [Part]
        var methods: Set<String>

        func matches(_ words: [Substring]) -> Bool {
            for (index, part) in parts.enumerated() {
                if part == .anyRest { return true }
                guard index < words.count else { return false }
                if case .word(let word) = part, word != words[index] { return false }
            }
            return parts.count == words.count
        }
    }

    private let routes = Mutex<[Route]>([])

    func learn(_ router: Router<GatewayContext>) {
        var methods: [String: Set<String>] = [:]
        for route in router.routes { methods[route.path.description, default: []].insert(route.method.rawValue) }
        let found = methods.map { path, methods in
            let parts = path.split(separator: "/").map { word -> Part in
                if word == "**" { return .anyRest }
                return word.hasPrefix("{") ? .anyWord : .word(String(word))
            }
            return Route(parts: parts, methods: methods.contains("GET") ? methods.union(["HEAD"]) : methods)
        }
        let ordered = found.sorted { $0.parts.lexicographicallyPrecedes($1.parts) }
        routes.withLock { $0 = ordered }
    }

    /// - Returns: the value of `Allow`, as in `GET, HEAD, POST`; nil where the path is unknown, or takes this method.
    func allow(_ path: String, besides method: HTTPRequest.Method) -> String? {
        let words = path.split(separator: "/")
        let methods = routes.withLock { $0.first { $0.matches(words) }?.methods }
        guard let methods, !methods.contains(method.rawValue) else { return nil }
        return methods.sorted().joined(separator: ", ")
    }
}
