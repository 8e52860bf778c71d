// A base as a run is planned with: what it computes and how it reads text, without one of its weights. What a run takes can
// so be said of a model that nobody has loaded.

package import Arithmetic
package import Inference
package import ModelFiles
import Tokenizers

package struct TrainingBase: Sendable {
    package let config: ModelConfig
    package let precision: Precision
    let tokenizer: Tokenizer?
    let template: ChatTemplate?

    package init(_ model: LoadedModel) {
        config = model.config
        precision = model.precision
        tokenizer = model.tokenizer
        template = model.template
    }

    /// Reads the description and the tokenizer.
    package init(folder: any ModelFolder, precision: Precision) throws(ModelFault) {
        config = try ModelConfig(folder: folder)
        self.precision = precision
        let texts = try ModelTexts(folder: folder)
        tokenizer = texts.tokenizer
        template = texts.template
    }

    /// Columns of the widest feed-forward half.
    var feedForwardWidth: Int {
        config.plans.reduce(0) { widest, plan in
            guard case .dense(let width, _) = plan.feedForward else { return widest }
            return max(widest, width)
        }
    }
}
