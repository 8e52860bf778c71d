// The kinds of evidence by name, as a receipt tells which of them its shares came of. Protocol/attribution.md, Receipts.

/// In the order in which a receipt names them.
package enum EvidenceKind: String, Hashable, Sendable, CaseIterable {
    case influence, retrieval, spans
}

package enum EvidenceMethod {
    /// Of what Protocol/attribution.md says.
    package static let revision: UInt64 = 1
    /// Tokens of an answer, from its beginning, whose log-probabilities say what a passage did for it.
    package static let scoredTokensMax = 256

    /// `retrieval+spans`, or what else there is.
    package static func name(of kinds: Set<EvidenceKind>) -> String {
        EvidenceKind.allCases.filter(kinds.contains).map(\.rawValue).joined(separator: "+")
    }

    /// nil for a name that says otherwise, or what no peer of this revision computes.
    package static func kinds(named name: String) -> Set<EvidenceKind>? {
        let kinds = Set(name.split(separator: "+").compactMap { EvidenceKind(rawValue: String($0)) })
        return kinds.isEmpty || self.name(of: kinds) != name ? nil : kinds
    }

    /// What decides over the shares besides the evidence, by name.
    package static func settings(_ kinds: Set<EvidenceKind>, _ weights: FusionWeights) -> [String: UInt64] {
        var settings: [String: UInt64] = [:]
        for kind in kinds { settings[kind.rawValue] = UInt64(max(0, weights[kind])) }
        if kinds.contains(.retrieval) { settings["scored"] = UInt64(scoredTokensMax) }
        return settings
    }
}

extension FusionWeights {
    package subscript(kind: EvidenceKind) -> Int64 {
        switch kind {
        case .influence: influence
        case .retrieval: retrieval
        case .spans: spans
        }
    }
}
