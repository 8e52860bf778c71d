// What a request may ask of an answer beyond how its tokens are drawn: a form that it must have, adapters fused for it, and
// vectors instead of text.

package import Primitives

/// A form that the answer's text must have; tokens that would leave it cannot be chosen.
package enum AnswerFormat: Sendable, Hashable {
    /// Any JSON object.
    case jsonObject
    /// JSON that the schema allows (JSON Schema 2020-12, the part that the node knows).
    case jsonSchema(JSONValue)
    /// A grammar, as its text.
    case grammar(String)
}

/// Several adapters as one, for one request. Names and meaning are LoRAX's (`merged_adapters`).
package struct AdapterMerge: Sendable, Hashable {
    package enum Strategy: String, Sendable, Hashable, CaseIterable {
        case linear, ties
        case dareLinear = "dare_linear"
        case dareTies = "dare_ties"
    }

    package enum MajoritySign: String, Sendable, Hashable, CaseIterable {
        case total, frequency
    }

    /// `adapter` or `adapter@revision`, of the request's base.
    package var adapters: [String]
    /// One for each.
    package var weights: [Double]
    package var strategy: Strategy
    /// The share of each factor that is kept, above 0 to 1; of `linear` always 1.
    package var density: Double
    package var majoritySign: MajoritySign

    package init(
        adapters: [String], weights: [Double], strategy: Strategy = .linear, density: Double = 1,
        majoritySign: MajoritySign = .total
    ) {
        self.adapters = adapters
        self.weights = weights
        self.strategy = strategy
        self.density = density
        self.majoritySign = majoritySign
    }
}

package struct EmbeddingRequest: Sendable, Hashable {
    package enum Input: Sendable, Hashable {
        case text(String)
        case tokens([UInt32])
    }

    package var model: String
    package var inputs: [Input]
    /// Whether a text longer than the model's context is cut to it, or refused.
    package var truncates: Bool
    package var tenant: String?

    package init(model: String, inputs: [Input], truncates: Bool = false) {
        self.model = model
        self.inputs = inputs
        self.truncates = truncates
    }
}

package struct Embeddings: Sendable, Hashable {
    /// The model as it was resolved.
    package var model: String
    /// One for each input, in order; all of one length.
    package var vectors: [[Float]]
    package var promptTokens: Int

    package init(model: String, vectors: [[Float]], promptTokens: Int) {
        self.model = model
        self.vectors = vectors
        self.promptTokens = promptTokens
    }
}
