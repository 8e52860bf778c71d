import ArgumentParser
import Primitives

struct BatchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "batch", abstract: "Read the chain's batches.", subcommands: [List.self, Show.self])

    struct List: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List batches, newest first.", discussion: "EXAMPLE\n  openledger batch list --limit 10")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("batches", page.query)
            output.result(value) {
                var table = Table("HEIGHT", "TIME", "RECEIPTS", "TRANSACTIONS", "FEES", "SIGNED", "BUILDER")
                for one in value.list("batches") {
                    let certificate = one["certificate"] ?? .null
                    table.add(
                        one.shown("height"), moment(one["time_ms"]), one.shown("receipts"), one.shown("transactions"),
                        one.shown("fees"), "\(certificate.shown("seats"))/\(certificate.shown("of"))",
                        short(one.shown("builder")))
                }
                return table.text + page.more(value)
            }
        }
    }

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one batch with its certificate.", discussion: "EXAMPLE\n  openledger batch show 128")
        @OptionGroup var global: GlobalOptions
        @Argument var height: UInt64

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("batches", String(height)))
            output.result(value) {
                let certificate = value["certificate"] ?? .null
                return """
                    Batch \(value.shown("height"))  \(moment(value["time_ms"])), epoch \(value.shown("epoch")), view \(value.shown("view"))
                    Header       \(value.shown("header"))
                    Parent       \(value.shown("parent"))
                    State root   \(value.shown("state_root"))
                    Receipts     \(value.shown("receipts")), root \(value.shown("receipts_root"))
                      \(value.list("receipt_ids").compactMap(\.text).joined(separator: "\n  "))
                    Transactions \(value.shown("transactions"))
                      \(value.list("transaction_ids").compactMap(\.text).joined(separator: "\n  "))
                    Fees         \(value.shown("fees")) OPEN
                    Certificate  \(certificate.shown("seats")) of \(certificate.shown("of")) seats: \(certificate.shown("signers"))
                    """
            }
        }
    }
}

struct AccountCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "account", abstract: "Balances, transfers, stake and history.",
        subcommands: [
            Show.self, Transfer.self, Stake.self, Unstake.self, Claim.self, Earnings.self, History.self, Faucet.self,
        ])

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show an account's balance.", discussion: "EXAMPLE\n  openledger account show")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "An account (default: this peer's).") var account = "me"

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("accounts", account))
            output.result(value) {
                let balance = value["balance"] ?? .null
                return """
                    Account   \(value.shown("account"))
                    Free      \(balance.shown("free")) OPEN
                    Locked    \(balance.shown("locked"))
                    Staked    \(balance.shown("staked"))
                    Unbonding \(balance.shown("unbonding"))
                    Pending   \(balance.shown("pending"))
                    Claimable \(balance.shown("claimable"))
                    At height \(value.shown("height"))
                    """
            }
        }
    }

    /// An amount on the command line.
    struct Sum: ParsableArguments {
        @Argument(help: "In OPEN, as in 1.5.") var amount: String
        @OptionGroup var waiting: Waiting

        func validate() throws {
            guard let parsed = Amount(text: amount), parsed > .zero else {
                throw ValidationError(
                    "\(amount) is no amount above zero; write OPEN with at most 18 decimals, as in 1.5")
            }
        }
    }

    struct Waiting: ParsableArguments {
        @Flag(inversion: .prefixedNo, help: "Wait for the batch that holds it.") var wait = true
    }

    static func submit(
        _ node: APIClient, _ output: Output, _ path: String, _ members: KeyValuePairs<String, JSONValue?>, done: String
    ) async throws {
        let value = try await node.post(path, .present(members))
        output.result(value) {
            switch value.shown("state") {
            case "batched": "\(done) in batch \(value.shown("batch"))"
            case "refused": "refused: \(value.shown("refusal"))"
            default: "\(value.shown("state")): transaction \(value.shown("transaction"))"
            }
        }
        if value["state"]?.text == "refused" { throw Ending(status: .refused) }
    }

    struct Transfer: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send OPEN to an account.", discussion: "EXAMPLE\n  openledger account transfer 1.5 12D3Koo…")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var sum: Sum
        @Argument(help: "The account to pay.") var to: String

        func validate() throws {
            guard AccountID(text: to) != nil else {
                throw ValidationError("\(to) is no account; one looks like 12D3KooW…")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AccountCommand.submit(
                node, output, "accounts/me/transfer",
                ["to": .string(to), "amount": .string(sum.amount), "wait": .bool(sum.waiting.wait)],
                done: "\(sum.amount) OPEN sent to \(to)")
        }
    }

    struct Stake: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Stake OPEN, to be a candidate for the committee.",
            discussion: "EXAMPLE\n  openledger account stake 100")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var sum: Sum

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AccountCommand.submit(
                node, output, "accounts/me/stake", ["amount": .string(sum.amount), "wait": .bool(sum.waiting.wait)],
                done: "\(sum.amount) OPEN staked")
        }
    }

    struct Unstake: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take stake back; it is free after the unbonding period.",
            discussion: "EXAMPLE\n  openledger account unstake 100")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var sum: Sum

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AccountCommand.submit(
                node, output, "accounts/me/unstake", ["amount": .string(sum.amount), "wait": .bool(sum.waiting.wait)],
                done: "\(sum.amount) OPEN unbonding")
        }
    }

    struct Claim: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move what is claimable to the free balance.", discussion: "EXAMPLE\n  openledger account claim")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var waiting: Waiting

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AccountCommand.submit(
                node, output, "accounts/me/claim", ["wait": .bool(waiting.wait)], done: "claimed")
        }
    }

    struct Faucet: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask the faucet of a test network for OPEN.", discussion: "EXAMPLE\n  openledger account faucet")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "The account to fill (default: this peer's).") var account: String?

        func perform(_ node: APIClient, _ output: Output) async throws {
            try await AccountCommand.submit(
                node, output, "faucet", ["account": account.map(JSONValue.string)], done: "OPEN received")
        }
    }

    struct Earnings: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what an account earns, by source: estimated, pending and settled.",
            discussion: "EXAMPLE\n  openledger account earnings")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page
        @Argument(help: "An account (default: this peer's).") var account = "me"

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("accounts", account, "earnings"), page.query)
            output.result(value) {
                var sources = Table("FOR", "SOURCE", "ESTIMATED", "PENDING", "SETTLED", "PAYMENTS")
                for one in value.list("sources") {
                    sources.add(
                        one.shown("note"), one.shown("source"), one.shown("estimated"), one.shown("pending"),
                        one.shown("settled"), one.shown("payments"))
                }
                let unpaid = value.list("unpaid").map {
                    "\($0.shown("rows")) rows of this account were in a prompt and are owed nothing: "
                        + SourceReasons.text($0.shown("reason"))
                }
                var entries = Table("HEIGHT", "AMOUNT", "NOTE", "SOURCE", "RECEIPT")
                for one in value.list("entries") {
                    entries.add(
                        one.shown("height"), one.shown("sign") + one.shown("amount"), one.shown("note"),
                        one.shown("source"), short(one.shown("receipt")))
                }
                let totals = """
                    Estimated \(value.shown("estimated")) OPEN
                    Pending   \(value.shown("pending"))
                    Settled   \(value.shown("settled"))
                    Penalties \(value.shown("penalties"))
                    """
                return ([totals, "", sources.text] + unpaid + ["", entries.text + page.more(value)])
                    .joined(separator: "\n")
            }
        }
    }

    struct History: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List what moved an account's balance, and why.",
            discussion: "EXAMPLE\n  openledger account history")
        @OptionGroup var global: GlobalOptions
        @OptionGroup var page: Page
        @Argument(help: "An account (default: this peer's).") var account = "me"

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get(APIClient.path("accounts", account, "history"), page.query)
            output.result(value) {
                var table = Table("HEIGHT", "AMOUNT", "KIND", "WITH", "NOTE")
                for one in value.list("entries") {
                    table.add(
                        one.shown("height"), one.shown("sign") + one.shown("amount"), one.shown("kind"),
                        short(one.shown("counterparty")), one.shown("note"))
                }
                return table.text + page.more(value)
            }
        }
    }
}

struct CommitteeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "committee", abstract: "Who certifies batches in this epoch.", subcommands: [Show.self])

    struct Show: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the committee and its seats.", discussion: "EXAMPLE\n  openledger committee show")
        @OptionGroup var global: GlobalOptions

        func perform(_ node: APIClient, _ output: Output) async throws {
            let value = try await node.get("committee")
            output.result(value) {
                var table = Table("PEER", "SEATS", "STAKE")
                for seat in value.list("seats") {
                    table.add(seat.shown("peer"), seat.shown("seats"), seat.shown("stake"))
                }
                return
                    "Epoch \(value.shown("epoch")), quorum \(value.shown("quorum")) of \(value.shown("total_seats")) seats,"
                    + " next epoch at height \(value.shown("next_epoch_height"))\n" + table.text
            }
        }
    }
}
