local moonfold = require "moonfold"
local account = require "account"
local given = require("moonfold.spec")(account)

local command = moonfold.command

local function deposited(cents) return moonfold.event("MoneyDeposited", { cents = cents }) end
local function withdrawn(cents) return moonfold.event("MoneyWithdrawn", { cents = cents }) end

local closed = moonfold.event("AccountClosed")

describe("an account", function()
  it("begins empty", function()
    given {}:expect_state { balance = 0, closed = false }
  end)

  it("takes money in", function()
    given { deposited(1000) }
      :when(command("Deposit", { cents = 250 }))
      :expect { deposited(250) }
      :expect_state { balance = 1250, closed = false }
  end)

  it("gives money out, down to the last cent", function()
    given { deposited(1000) }
      :when(command("Withdraw", { cents = 1000 }))
      :expect { withdrawn(1000) }
      :expect_state { balance = 0, closed = false }
  end)

  it("does not give out what it does not hold", function()
    given { deposited(1000), withdrawn(400) }
      :when(command("Withdraw", { cents = 601 }))
      :expect_rejected("insufficient_funds")
      :expect_state { balance = 600, closed = false }
  end)

  it("says how much is missing, in words and as a number", function()
    local store <close> = moonfold.open(":memory:")
    store:append_to_stream("account-ada", deposited(1000))
    local _, rejection = store:attempt("account-ada", account, command("Withdraw", { cents = 1205 }))
    assert.equal("12.05 cannot be withdrawn: the balance is 10.00", rejection.message)
    assert.equal(205, rejection.detail.missing)
  end)

  it("decides each command of a list on what the ones before left", function()
    local withdraw = command("Withdraw", { cents = 600 })
    given { deposited(1200) }:when { withdraw, withdraw }:expect { withdrawn(600), withdrawn(600) }
    given { deposited(1199) }:when { withdraw, withdraw }:expect_rejected("insufficient_funds")
  end)

  it("deals in whole cents, more than none", function()
    for _, type in ipairs { "Deposit", "Withdraw" } do
      for _, cents in ipairs { 0, -1 } do
        given { deposited(1000) }:when(command(type, { cents = cents })):expect_rejected("invalid_amount")
      end
      for _, cents in ipairs { 1.5, 2.0, "100" } do
        given { deposited(1000) }:when(command(type, { cents = cents }))
          :expect_error("command.data.cents: an integer is needed")
      end
    end
  end)
end)

describe("closing an account", function()
  it("pays out what is left", function()
    given { deposited(700) }
      :when(command("Close"))
      :expect { withdrawn(700), closed }
      :expect_state { balance = 0, closed = true }
  end)

  it("pays out nothing when there is nothing", function()
    given { deposited(700), withdrawn(700) }:when(command("Close")):expect { closed }
  end)

  it("changes nothing the second time", function()
    given { closed }:when(command("Close")):expect_nothing()
  end)

  it("ends deposits and withdrawals", function()
    given { closed }:when(command("Deposit", { cents = 1 })):expect_rejected("account_closed")
    given { closed }:when(command("Withdraw", { cents = 1 })):expect_rejected("account_closed")
  end)
end)

describe("an old account", function()
  it("has euros that are read as cents", function()
    given {
      moonfold.event("MoneyDeposited", { euros = 12.5 }),
      moonfold.event("MoneyWithdrawn", { euros = 0.29 }),
      deposited(1),
    }:expect_state { balance = 1222, closed = false }
  end)

  it("was terminated, which is closed today", function()
    given { moonfold.event("AccountTerminated") }
      :when(command("Deposit", { cents = 1 }))
      :expect_rejected("account_closed")
  end)
end)
