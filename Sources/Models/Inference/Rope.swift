// Rotary position embedding: the angle that each pair of channels turns by per position.
// Source: transformers `modeling_rope_utils`, in its order of operations and its single precision; yarn: arXiv 2309.00071.

import Arithmetic

package enum RopeScaling: Hashable, Sendable {
    case none
    case linear(factor: Float)
    case llama3(factor: Float, low: Float, high: Float, originalContext: Float)
    case yarn(Yarn)
    /// One divisor a pair, as llama.cpp stores the llama3 rule.
    case factors([Float])
}

package struct Yarn: Hashable, Sendable {
    let factor: Double
    let originalContext: Double
    let betaFast: Double
    let betaSlow: Double
    let truncates: Bool
    /// What cosines and sines are multiplied by.
    let attentionFactor: Float

    /// 0.1 m ln(factor) + 1.
    static func scale(_ factor: Double, _ m: Double = 1) -> Double {
        factor <= 1 ? 1 : 0.1 * m * DoubleMath.log(factor) + 1
    }
}

package struct Rope: Hashable, Sendable {
    package let theta: Double
    /// Channels of a head that turn, the first ones.
    package let dimension: Int
    package let scaling: RopeScaling

    package var pairs: Int { dimension / 2 }

    package var attentionFactor: Float {
        guard case .yarn(let yarn) = scaling else { return 1 }
        return yarn.attentionFactor
    }

    package var inverseFrequencies: [Float] {
        (0..<pairs).map { pair in
            let exponent = Float(2 * pair) / Float(dimension)
            let power = Float(DoubleMath.pow(theta, Double(exponent)))
            let plain = 1 / power
            switch scaling {
            case .none: return plain
            case .linear(let factor): return plain / factor
            case .factors(let factors): return plain / factors[pair]
            case .llama3(let factor, let low, let high, let original):
                let wavelength = 2 * Float.pi / plain
                if wavelength > original / low { return plain / factor }
                if wavelength < original / high { return plain }
                let smooth = (original / wavelength - low) / (high - low)
                return (1 - smooth) * plain / factor + smooth * plain
            case .yarn(let yarn):
                let keeps = 1 - ramp(yarn, pair)
                return 1 / (Float(yarn.factor) * power) * (1 - keeps) + plain * keeps
            }
        }
    }

    /// 0 for the pairs that turn fast and keep their angle, 1 for the slow ones that are interpolated.
    private func ramp(_ yarn: Yarn, _ pair: Int) -> Float {
        func boundary(_ turns: Double) -> Double {
            let ratio = yarn.originalContext / (turns * 2 * Double.pi)
            return Double(dimension) * DoubleMath.log(ratio) / (2 * DoubleMath.log(theta))
        }
        var low = boundary(yarn.betaFast), high = boundary(yarn.betaSlow)
        if yarn.truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        low = max(low, 0)
        high = min(high, Double(dimension - 1))
        if low == high { high += 0.001 }
        return min(1, max(0, (Float(pair) - Float(low)) / Float(high - low)))
    }
}
