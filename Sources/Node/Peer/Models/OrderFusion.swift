// Several adapters as one, in an order's and a receipt's words (Protocol/fusion.md): the method as a short text with its
// numbers in millionths, each adapter's weight beside it. What DARE drops follows the order's seed.

import Decoding
import Gateway
import Inference
import Ledger
import NodeCore
import Primitives

/// The method of a fusion without its seed. One value, one text.
struct OrderFusion: Hashable, Sendable {
    enum Strategy: String, Sendable { case linear, ties, dareLinear = "dare_linear", dareTies = "dare_ties" }

    private static let whole = 1_000_000

    let strategy: Strategy
    /// In millionths; of `linear` all.
    let density: Int
    let sign: AdapterFusion.MajoritySign

    init(_ merge: AnswerMerge) throws(JobFault) {
        strategy = Strategy(rawValue: merge.strategy.rawValue) ?? .linear
        sign = AdapterFusion.MajoritySign(rawValue: merge.majoritySign.rawValue) ?? .total
        guard strategy != .linear else {
            density = Self.whole
            return
        }
        let millionths = (merge.density * Double(Self.whole)).rounded()
        guard (1...Double(Self.whole)).contains(millionths) else {
            throw JobFault(
                .invalid, "out_of_range", "density must be at least 0.000001 and at most 1",
                parameter: "merged_adapters.density")
        }
        density = Int(millionths)
    }

    /// nil for a text that is not the one form of a method.
    init?(text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard let strategy = parts.first.flatMap(Strategy.init) else { return nil }
        self.strategy = strategy
        let density = parts.count > 1 ? Int(parts[1]) : Self.whole
        guard let density, (1...Self.whole).contains(density) else { return nil }
        self.density = density
        let sign = parts.count > 2 ? AdapterFusion.MajoritySign(rawValue: parts[2]) : .total
        guard let sign else { return nil }
        self.sign = sign
        guard self.text == text else { return nil }
    }

    var signText: String { sign.rawValue }

    var text: String {
        switch strategy {
        case .linear: strategy.rawValue
        case .dareLinear: "\(strategy.rawValue)/\(density)"
        case .ties, .dareTies: "\(strategy.rawValue)/\(density)/\(sign.rawValue)"
        }
    }

    func fusion(of adapters: [AdapterUse], seed: UInt64) -> AdapterFusion {
        let density = Double(density) / Double(Self.whole)
        let method: AdapterFusion.Method =
            switch strategy {
            case .linear: .linear
            case .ties: .ties(density: density, sign: sign)
            case .dareLinear: .dareLinear(density: density, seed: seed)
            case .dareTies: .dareTies(density: density, seed: seed, sign: sign)
            }
        return AdapterFusion(
            parts: adapters.map { .init(adapter: $0.adapter.text, weight: Double($0.weight) / Double(Self.whole)) },
            method: method)
    }
}

extension AskForm {
    init(_ form: AnswerForm) {
        switch form {
        case .jsonObject: self = .json
        case .jsonSchema(let schema): self = .schema(String(decoding: schema.serialized(), as: UTF8.self))
        case .grammar(let text): self = .grammar(text)
        }
    }

    /// Compiling takes as long as the form is large: not on the node's loop.
    func grammar() throws(JobFault) -> Grammar {
        switch self {
        case .json: return try LocalPlan.grammar(.jsonObject)
        case .schema(let text):
            let schema: JSONValue
            do {
                schema = try JSONValue.parse(text)
            } catch {
                throw JobFault(
                    .invalid, "invalid_value", "response_format: the schema is not JSON: \(error)",
                    parameter: "response_format")
            }
            return try LocalPlan.grammar(.jsonSchema(schema))
        case .grammar(let text): return try LocalPlan.grammar(.grammar(text))
        }
    }
}
