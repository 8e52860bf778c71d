// Several adapters that answer one request together, each with a weight.

package struct AdapterFusion: Hashable, Sendable {
    package struct Part: Hashable, Sendable {
        package let adapter: String
        /// Of either sign; zero leaves the adapter out of what is computed, not of what is checked.
        package let weight: Double

        package init(adapter: String, weight: Double) {
            self.adapter = adapter
            self.weight = weight
        }
    }

    /// What counts as the sign of many values: that of their sum, or that of most of them.
    package enum MajoritySign: String, Hashable, Sendable, CaseIterable {
        case total
        case frequency
    }

    /// As PEFT's `add_weighted_adapter` names them. All but the first want factors of one rank.
    package enum Method: Hashable, Sendable {
        /// The sum of weight times scale times B A: each adapter's own factors side by side, exact for any ranks.
        case linear
        /// Of each factor the `density` greatest by magnitude, then the majority's sign, then the mean.
        case ties(density: Double, sign: MajoritySign = .total)
        /// Of each factor a random `density`, scaled up, then the sum.
        case dareLinear(density: Double, seed: UInt64)
        /// Of each factor a random `density`, scaled up, then the majority's sign, then the mean.
        case dareTies(density: Double, seed: UInt64, sign: MajoritySign = .total)

        var density: Double {
            switch self {
            case .linear: 1
            case .ties(let density, _), .dareLinear(let density, _), .dareTies(let density, _, _): density
            }
        }
    }

    package var parts: [Part]
    package var method: Method

    package init(parts: [Part], method: Method = .linear) {
        self.parts = parts
        self.method = method
    }

    /// For messages and lists, as "a*0.5+b*0.5".
    package var name: String { parts.map { "\($0.adapter)*\($0.weight)" }.joined(separator: "+") }

    func check(partsMax: Int) throws(EngineFault) {
        guard (1...max(1, partsMax)).contains(parts.count) else {
            throw .parameter(name: "merged_adapters", reason: "takes 1 to \(partsMax) adapters, not \(parts.count)")
        }
        guard parts.allSatisfy({ $0.weight.isFinite && abs($0.weight) <= 1e6 }) else {
            throw .parameter(name: "merged_adapters", reason: "has a weight that is no number between -1e6 and 1e6")
        }
        guard method.density > 0, method.density <= 1 else {
            throw .parameter(name: "density", reason: "must be above 0 and at most 1")
        }
    }
}
